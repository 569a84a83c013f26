"""The gradient that flows back through the state between two passes."""

from typing import NamedTuple

from mcore.arrays import Array, namespace
from mcore.cache import MemoryState, settle_backward
from mcore.ending import PassSaved, key_share
from mcore.picking import add_to_one_each, per_row
from mcore.router import Pool


class Ended(NamedTuple):
    """Gradients that reach a pass through the state at its end.

    Attributes:
        checkpoints: (B, cached + S, H, P) of the cache followed by this pass's checkpoints.
        contexts: (B, cached + S, H, K) of their contexts.
        online: (B, H, P) of the online memory before, in rows where nothing arrived.
        keys: (B, H, K) of the key sum before, likewise.
    """

    checkpoints: Array
    contexts: Array
    online: Array
    keys: Array


def end_backward(saved: PassSaved, d_end: MemoryState | None) -> Ended:
    """Gradient of the end state with respect to this pass's results."""
    segments = saved.setting.segments
    if d_end is None:
        return nothing(saved, segments.cached + segments.count)
    given, merger = (d_end.checkpoints, d_end.contexts), saved.keeper.merger
    checkpoints, contexts = settle_backward(saved.joined, saved.settled[1], given, merger)
    column, idle = segments.cached + segments.final, saved.idle
    add_to_one_each(checkpoints, column, per_row(idle, 0, d_end.online))
    if contexts.shape[-1]:
        add_to_one_each(contexts, column, per_row(idle, 0, key_share(saved) * d_end.keys))
    return Ended(
        checkpoints, contexts, per_row(idle, d_end.online, 0), per_row(idle, d_end.keys, 0)
    )


def nothing(saved: PassSaved, slots: int) -> Ended:
    """Gradients of an end state that nobody goes on from, for so many columns."""
    before, segments = saved.before, saved.setting.segments
    checkpoints, contexts = saved.cache.checkpoints, saved.cache.contexts
    xp = namespace(checkpoints)
    return Ended(
        xp.zeros((segments.rows, slots, *checkpoints.shape[2:]), checkpoints.dtype),
        xp.zeros((segments.rows, slots, *contexts.shape[2:]), contexts.dtype),
        xp.zeros_like(before.online),
        xp.zeros_like(before.keys),
    )


def state_gradient(
    saved: PassSaved, pool: Pool | None, d_online: Array | None, ended: Ended
) -> MemoryState:
    """The gradient with respect to the state that came in, in the shape of that state."""
    before, cached = saved.before, saved.setting.segments.cached
    idle = saved.idle
    d_contexts, d_keys = ended.contexts[:, :cached], ended.keys
    if pool is not None:
        d_contexts = d_contexts + pool.contexts
        d_keys = per_row(idle, d_keys, pool.keys)
    return MemoryState(
        online=ended.online if d_online is None else per_row(idle, ended.online, d_online),
        checkpoints=ended.checkpoints[:, :cached],
        scales=before.scales,
        contexts=d_contexts,
        ledger=before.ledger,
        keys=d_keys,
        position=before.position,
        length=before.length,
        count=before.count,
        document=before.document,
        origin=before.origin,
    )
