"""One pass over tokens whose cuts are known, and back.

A pass scans, then reads: `composed` of the backend's operations, one after the other, or `fused`
where the backend does all of it in one.
"""

from dataclasses import dataclass
from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Backend, Fused, Routes, Saved, Stored
from mcore.cache import Cache, MemoryState, expand, join
from mcore.continuation import Ended, end_backward, nothing, state_gradient
from mcore.ending import Ends, PassSaved
from mcore.onset import Keeper
from mcore.reading import Scene, Setting, add_gradients, add_optional, answer, answer_backward
from mcore.readout import Readout
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Pool
from mcore.segments import Segments


@dataclass(frozen=True)
class Machine:
    """What passes have in common.

    Attributes:
        backend, rule, readout: what runs, remembers and reads.
        keeper: turns the ends of segments into checkpoints.
        parameters: names of the inputs that are the same for all tokens.
    """

    backend: Backend
    rule: Recurrence
    readout: Readout
    keeper: Keeper
    parameters: frozenset[str]

    @property
    def fused(self) -> Fused | None:
        """What does a whole pass at once: not where checkpoints change as they are stored."""
        router, policy = self.readout.routing, self.keeper.policy
        mixes = self.readout.mixes_states and not self.rule.linear_read
        if router is None or mixes or policy.stepwise or policy.dtype is not None:
            return None
        return self.backend.fused(self.rule, router)


class Gradients(NamedTuple):
    """Of a pass: with respect to its inputs, and to the state that came in."""

    inputs: dict[str, Array]
    state: MemoryState


class Composed(NamedTuple):
    """What a pass of several operations keeps."""

    scene: Scene
    routes: Routes | None
    scan: Saved
    answer: Saved


def run_pass(
    machine: Machine, inputs: Inputs, before: MemoryState, segments: Segments
) -> tuple[Array, PassSaved]:
    """y (B, T, H, V) of prepared inputs."""
    carry = None if segments.restart[:, 0].all() else before.online
    pool = Pool(before.contexts, before.keys)
    setting = Setting(machine.backend, machine.rule, machine.readout, inputs, carry, segments, pool)
    cached, fused = expand(before.stored, before.online.dtype.name), machine.fused
    cache = Cache(cached, before.contexts, before.ledger)
    form = "composed" if fused is None else "fused"
    if fused is None:
        y, ends, kept = _compose(setting, cached, machine.keeper)
    else:
        stored, queries = Stored(carry, cached, pool), machine.readout.queries(inputs)
        found, kept = fused.forward(inputs, queries, stored, segments)
        y, ends = found.y, Ends(found.checkpoints, found.contexts)
    return y, PassSaved(setting, y.shape, ends, machine.keeper, before, cache, form, kept)


def pass_backward(
    machine: Machine, saved: PassSaved, dy: Array, d_end: MemoryState | None
) -> Gradients:
    """Gradients of `run_pass`, those that come through the end state included."""
    if saved.form == "composed":
        return _composed_backward(saved, dy, end_backward(saved, d_end))
    assert machine.fused is not None
    return _fused_backward(machine.fused, saved, dy, d_end)


def _compose(setting: Setting, cached: Array, keeper: Keeper) -> tuple[Array, Ends, Composed]:
    backend, readout, segments = setting.backend, setting.readout, setting.segments
    scan, scan_saved = backend.scan(setting.rule, setting.inputs, setting.carry, segments)
    rounded = keeper.rounded(scan.checkpoints) if readout.reads_cache else scan.checkpoints
    checkpoints = join(cached, rounded, segments.columns)
    scene = Scene(**vars(setting), reads=scan.reads, checkpoints=checkpoints)
    (y, routes), answer_saved = answer(scene)
    ends = Ends(scan.checkpoints, None if routes is None else routes.contexts)
    return y, ends, Composed(scene, routes, scan_saved, answer_saved)


def _composed_backward(saved: PassSaved, dy: Array, ended: Ended) -> Gradients:
    scene, _, scan, answer_saved = saved.form_saved
    columns, cached = scene.segments.columns, scene.segments.cached
    gradient = answer_backward(scene, answer_saved, dy, ended.contexts[:, cached:])
    ended.checkpoints[:, :columns] += gradient.checkpoints
    d_inputs, d_carry = scene.backend.scan_backward(
        scan, gradient.reads, ended.checkpoints[:, cached:]
    )
    d_online = add_optional(d_carry, gradient.carry)
    d_state = state_gradient(saved, gradient.pool, d_online, ended)
    return Gradients(add_gradients(d_inputs, gradient.inputs), d_state)


def _fused_backward(
    fused: Fused, saved: PassSaved, dy: Array, d_end: MemoryState | None
) -> Gradients:
    setting, cached = saved.setting, saved.setting.segments.cached
    if d_end is None:
        ended = nothing(saved, cached)
        gradient = fused.backward(saved.form_saved, dy, None, None)
    else:
        ended = end_backward(saved, d_end)
        d_ends = ended.checkpoints[:, cached:], ended.contexts[:, cached:]
        gradient = fused.backward(saved.form_saved, dy, *d_ends)
    d_inputs, d_queries, stored = gradient
    ended.checkpoints[:, :cached] += stored.checkpoints
    found = add_gradients(d_inputs, setting.readout.queries_backward(setting.inputs, d_queries))
    return Gradients(found, state_gradient(saved, stored.pool, stored.carry, ended))
