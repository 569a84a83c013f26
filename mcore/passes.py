"""One pass over tokens whose cuts are known: scan, read, and back."""

from dataclasses import dataclass
from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Backend
from mcore.cache import Cache, MemoryState, expand, join
from mcore.continuation import end_backward, state_gradient
from mcore.ending import PassSaved
from mcore.onset import Keeper
from mcore.reading import Scene, add_gradients, add_optional, answer, answer_backward
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


class Gradients(NamedTuple):
    """Of a pass: with respect to its inputs, and to the state that came in."""

    inputs: dict[str, Array]
    state: MemoryState


def run_pass(
    machine: Machine, inputs: Inputs, before: MemoryState, segments: Segments
) -> tuple[Array, PassSaved]:
    """y (B, T, H, V) of prepared inputs."""
    backend, rule, keeper = machine.backend, machine.rule, machine.keeper
    carry = None if segments.restart[:, 0].all() else before.online
    scan, scan_saved = backend.scan(rule, inputs, carry, segments)
    cached = expand(before.stored, before.online.dtype.name)
    rounded = keeper.rounded(scan.checkpoints) if machine.readout.reads_cache else scan.checkpoints
    checkpoints = join(cached, rounded, segments.columns)
    scene = Scene(
        backend, rule, machine.readout, inputs, carry, segments,
        scan.reads, checkpoints, Pool(before.contexts, before.keys),
    )  # fmt: skip
    (y, routes), answer_saved = answer(scene)
    cache = Cache(cached, before.contexts, before.ledger)
    return y, PassSaved(scene, scan, routes, keeper, before, cache, scan_saved, answer_saved)


def pass_backward(saved: PassSaved, dy: Array, d_end: MemoryState | None) -> Gradients:
    """Gradients of `run_pass`, those that come through the end state included."""
    scene = saved.scene
    ended = end_backward(saved, d_end)
    columns, cached = scene.segments.columns, scene.segments.cached
    gradient = answer_backward(scene, saved.answer_saved, dy, ended.contexts[:, cached:])
    ended.checkpoints[:, :columns] += gradient.checkpoints
    d_inputs, d_carry = scene.backend.scan_backward(
        saved.scan_saved, gradient.reads, ended.checkpoints[:, cached:]
    )
    d_online = add_optional(d_carry, gradient.carry)
    return Gradients(
        add_gradients(d_inputs, gradient.inputs), state_gradient(saved, gradient, d_online, ended)
    )
