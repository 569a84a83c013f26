"""The state after a pass over some tokens: the cache it leaves, and the open segment."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.cache import Cache, MemoryState, Settled, compact, join, kept, settle
from mcore.onset import Keeper
from mcore.picking import one_each, per_row
from mcore.placing import like, to_host
from mcore.reading import Setting


class Ends(NamedTuple):
    """What a pass leaves at the end of each of its segments.

    Attributes:
        checkpoints: (B, S, H, P).
        contexts: (B, S, H, K), if the readout routes.
    """

    checkpoints: Array
    contexts: Array | None


@dataclass(frozen=True)
class PassSaved:
    """What one pass keeps for its backward.

    Attributes:
        setting: what it worked on.
        shape: of y.
        ends: what it left.
        keeper: turns segments into checkpoints.
        before: the state that the first token found.
        cache: that state's checkpoints, as numbers.
        form: `composed` or `fused`.
        form_saved: for the backward of that form.
    """

    setting: Setting
    shape: tuple[int, ...]
    ends: Ends
    keeper: Keeper
    before: MemoryState
    cache: Cache
    form: str
    form_saved: Any

    @cached_property
    def reads(self) -> Array:
        """(B, T, H, V) answers of the online memory, made again where nobody kept them."""
        setting = self.setting
        if self.form == "composed":
            reads: Array = self.form_saved.scene.reads
            return reads
        rule, inputs, segments = setting.rule, setting.inputs, setting.segments
        return setting.backend.scan(rule, inputs, setting.carry, segments)[0].reads

    @cached_property
    def gates(self) -> Array | None:
        """(B, T, H, columns + 1) if the readout routes; made again where nobody kept them."""
        router, setting = self.setting.readout.routing, self.setting
        if router is None:
            return None
        if self.form == "composed":
            gates: Array = self.form_saved.routes.gates
            return gates
        u, keys = setting.readout.queries(setting.inputs), setting.inputs["k"]
        return setting.backend.route(u, keys, setting.segments, router, setting.pool)[0].gates

    @cached_property
    def joined(self) -> Cache:
        """The cache followed by this pass's checkpoints, with the books of both kept."""
        return _joined(self)

    @cached_property
    def settled(self) -> tuple[Cache, Settled]:
        """What stays of it."""
        policy, merger = self.keeper.policy, self.keeper.merger
        return settle(self.joined, _columns(self), policy, merger)

    @cached_property
    def end(self) -> MemoryState:
        """The state after the last token, to go on from."""
        return _end_state(self)

    @cached_property
    def idle(self) -> Array:
        """(B,) rows in which no token arrived."""
        idle: Array = self.setting.segments.real == 0
        return idle


def _end_state(saved: PassSaved) -> MemoryState:
    """Append the checkpoints of completed segments; keep the open one as `online`."""
    segments, before, keeper = saved.setting.segments, saved.before, saved.keeper
    cache, settled = saved.settled
    stored = compact(cache.checkpoints, keeper.policy.dtype, keeper.row)
    online = one_each(saved.ends.checkpoints, segments.final)
    return MemoryState(
        online=per_row(saved.idle, before.online, online),
        checkpoints=stored.codes,
        scales=stored.scales,
        contexts=cache.contexts,
        ledger=cache.ledger,
        keys=_open_keys(saved),
        position=before.position + segments.real,
        length=np.where(segments.ended, 0, one_each(segments.lengths, segments.final)),
        count=(settled.columns >= 0).sum(axis=1),
        document=before.document,
        origin=before.origin,
    )


def _joined(saved: PassSaved) -> Cache:
    segments, cache = saved.setting.segments, saved.cache
    rows, columns = segments.rows, segments.cached + segments.count
    contexts = saved.ends.contexts
    if contexts is None:
        xp, shape = namespace(cache.contexts), cache.contexts.shape[2:]
        contexts = xp.zeros((rows, segments.count, *shape), cache.contexts.dtype)
    entries = np.zeros((rows, segments.count, cache.ledger.shape[-1]))
    entries[..., 0] = segments.lengths
    return Cache(
        join(cache.checkpoints, saved.keeper.rounded(saved.ends.checkpoints), columns),
        join(cache.contexts, contexts, columns),
        join(_used(saved), entries, columns),
    )


def _used(saved: PassSaved) -> Array:
    """The ledger of the cache with this pass's tokens and their gates entered."""
    ledger, segments = saved.cache.ledger, saved.setting.segments
    if saved.keeper.policy.evict != "least_used" or not segments.cached or saved.gates is None:
        return ledger
    arrived = np.arange(segments.tokens) < segments.real[:, None]
    gates = saved.gates[..., : segments.cached].mean(axis=2)
    ledger = ledger.copy()
    ledger[..., 1] += segments.real[:, None]
    ledger[..., 2] += to_host((gates * like(gates, arrived)[..., None]).sum(axis=1))
    return ledger


def _columns(saved: PassSaved) -> Array:
    segments = saved.setting.segments
    if not saved.keeper.reads:
        return np.zeros((segments.rows, 0), np.int64)
    return kept(segments, saved.keeper.policy.window)


def _open_keys(saved: PassSaved) -> Array:
    """(B, H, K) sum of the keys of each row's open segment."""
    segments, before = saved.setting.segments, saved.before
    if not before.keys.shape[-1]:
        return before.keys
    if saved.ends.contexts is not None:
        sums = key_share(saved) * one_each(saved.ends.contexts, segments.final)
    else:
        sums = np.stack([_key_sum(saved, row) for row in range(segments.rows)])
    return per_row(saved.idle, before.keys, sums)


def _key_sum(saved: PassSaved, row: int) -> Array:
    segments, final = saved.setting.segments, saved.setting.segments.final[row]
    begin, end = segments.bounds[row, final : final + 2]
    total: Array = saved.setting.inputs["k"][row, begin:end].sum(axis=0)
    total = total + (saved.before.keys[row] if final == 0 else 0)
    return total * (not segments.ended[row])


def key_share(saved: PassSaved) -> Array:
    """(B, 1, 1) what the context of the open segment is multiplied by to give its key sum."""
    segments = saved.setting.segments
    length = one_each(segments.lengths, segments.final)
    factor = np.ones_like(length) if saved.keeper.merger.sums else length
    share = np.where(segments.ended, 0, factor)
    keys = saved.before.keys
    return like(keys, share.astype(keys.dtype))[:, None, None]
