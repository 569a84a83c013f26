"""What happens to a state before the first token of a call.

A token that starts a new document finds the state of its row empty; one that content-based cuts put
behind a border finds the open segment closed.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.cache import (
    Cache,
    CachePolicy,
    MemoryState,
    Settled,
    compact,
    expand,
    join,
    settle,
    settle_backward,
)
from mcore.cache.columns import aligned
from mcore.cache.settle import Merger
from mcore.picking import per_row
from mcore.placing import like


class Keeper(NamedTuple):
    """What turns the end of a segment into a checkpoint.

    Attributes:
        policy: bounds the cache.
        merger: how two checkpoints become one.
        row: width of a state's rows.
        reads: whether checkpoints are read, so that they are kept at all.
    """

    policy: CachePolicy
    merger: Merger
    row: int
    reads: bool

    def rounded(self, checkpoints: Array) -> Array:
        """Checkpoints as they read after having been stored."""
        if self.policy.dtype is None:
            return checkpoints
        stored = compact(checkpoints, self.policy.dtype, self.row)
        return expand(stored, checkpoints.dtype.name)

    def context_share(self, length: Array) -> Array:
        """(B,) what a key sum over `length` tokens is multiplied by to give a context."""
        return np.ones_like(length) if self.merger.sums else 1 / np.maximum(length, 1)


class Closed(NamedTuple):
    """What `close` keeps for its backward."""

    rows: Array
    joined: Cache
    settled: Settled
    share: Array


def renew(state: MemoryState, rows: Array) -> MemoryState:
    """The state with some rows (B,) bool as if nothing had been seen."""
    if not rows.any():
        return state
    kept = ~rows
    return replace(
        state,
        keys=per_row(rows, 0, state.keys),
        position=state.position * kept,
        length=state.length * kept,
        count=state.count * kept,
    )


def renew_backward(d_state: MemoryState, rows: Array) -> MemoryState:
    """Nothing flows back into what is void."""
    if not rows.any():
        return d_state
    return replace(
        d_state,
        online=per_row(rows, 0, d_state.online),
        keys=per_row(rows, 0, d_state.keys),
    )


def close(state: MemoryState, rows: Array, keeper: Keeper) -> tuple[MemoryState, Closed | None]:
    """The state with the open segment of some rows (B,) bool made a checkpoint."""
    if not rows.any():
        return state, None
    length = np.where(rows, 0, state.length)
    keys = per_row(rows, 0, state.keys)
    closed = replace(state, keys=keys, length=length)
    if not keeper.reads:
        return closed, None
    joined, share = _with_online(state, keeper)
    cached, held = state.checkpoints.shape[1], state.count + rows
    columns = aligned(cached + rows.astype(np.int64), held)
    cache, settled = settle(joined, columns, keeper.policy, keeper.merger)
    stored = compact(cache.checkpoints, keeper.policy.dtype, keeper.row)
    closed = replace(
        closed,
        checkpoints=stored.codes,
        scales=stored.scales,
        contexts=cache.contexts,
        ledger=cache.ledger,
        count=(settled.columns >= 0).sum(axis=1),
    )
    return closed, Closed(rows, joined, settled, share)


def close_backward(d_state: MemoryState, closed: Closed | None, keeper: Keeper) -> MemoryState:
    """Gradient of `close`, in the shape of the state that came in."""
    if closed is None:
        return d_state
    given = d_state.checkpoints, d_state.contexts
    d_joined, d_pooled = settle_backward(closed.joined, closed.settled, given, keeper.merger)
    d_keys = per_row(closed.rows, 0, d_state.keys)
    if d_pooled.shape[-1]:
        d_keys = d_keys + closed.share * d_pooled[:, -1]
    return replace(
        d_state,
        online=d_state.online + d_joined[:, -1],
        checkpoints=d_joined[:, :-1],
        contexts=d_pooled[:, :-1],
        keys=d_keys,
    )


def _with_online(state: MemoryState, keeper: Keeper) -> tuple[Cache, Array]:
    """The cache with the online memory as last column, and the share of keys in its context."""
    rows, columns = state.online.shape[0], state.checkpoints.shape[1] + 1
    cached = expand(state.stored, state.online.dtype.name)
    online = keeper.rounded(state.online[:, None])
    counted = keeper.context_share(state.length).astype(state.keys.dtype)
    share = like(state.keys, counted)[:, None, None]
    context = share * state.keys if state.contexts.shape[-1] else state.contexts[:, 0:0].sum(axis=1)
    entry = np.zeros((rows, 1, state.ledger.shape[-1]))
    entry[:, 0, 0] = state.length
    joined = Cache(
        join(cached, online, columns),
        join(state.contexts, context[:, None], columns),
        join(state.ledger, entry, columns),
    )
    return joined, share
