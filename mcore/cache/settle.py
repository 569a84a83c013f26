"""The cache after a call: pick the columns that stay, evict one too many, or merge two.

Which columns go is decided by integers and gates and is a constant in backward.
"""

from typing import NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.cache.columns import keep, keep_backward
from mcore.cache.policy import CachePolicy
from mcore.picking import entries, put_entries
from mcore.placing import like
from mcore.recurrence import Recurrence


class Cache(NamedTuple):
    """Checkpoints and what is known of them; also the shape of their gradient.

    Attributes:
        checkpoints: (B, C, H, P).
        contexts: (B, C, H, K).
        ledger: (B, C, 3) for each checkpoint: the tokens in it, the tokens that came since, and
            the gate mass that it received from them.
    """

    checkpoints: Array
    contexts: Array
    ledger: Array


class Settled(NamedTuple):
    """What `settle` decided.

    Attributes:
        columns: (B, C) which columns stay; -1 where a row has fewer.
        partners: (B, C) the column that was merged into it; -1 for none.
    """

    columns: Array
    partners: Array


class Merger(NamedTuple):
    """What merging needs to know.

    Attributes:
        rule: mixes two states.
        width: K.
        sums: whether contexts are sums of keys, not means.
    """

    rule: Recurrence
    width: int
    sums: bool


def settle(
    joined: Cache, columns: Array, policy: CachePolicy, merger: Merger
) -> tuple[Cache, Settled]:
    """The columns (B, C) of `joined`, less what exceeds the limit by one."""
    settled = _evicted(joined.ledger, columns, policy)
    picked = Cache(*(keep(array, settled.columns) for array in joined))
    rows, slots = np.nonzero(settled.partners >= 0)
    if not len(rows):
        return picked, settled
    pair = _pair(joined, settled, (rows, slots))
    weights, gates = _weights(pair, merger)
    checkpoints, contexts, ledger = (array.copy() for array in picked)
    mixed = merger.rule.mix(_states(pair, merger), gates, _seen(gates))
    put_entries(checkpoints, (rows, slots), mixed.reshape(pair[0].checkpoints.shape))
    pooled = weights[0] * pair[0].contexts + weights[1] * pair[1].contexts
    put_entries(contexts, (rows, slots), pooled)
    ledger[rows, slots] = pair[0].ledger + pair[1].ledger
    return Cache(checkpoints, contexts, ledger), settled


def settle_backward(
    joined: Cache, settled: Settled, d_cache: tuple[Array, Array], merger: Merger
) -> tuple[Array, Array]:
    """Gradients of checkpoints and contexts of `joined`, given those of the settled cache."""
    d_checkpoints, d_contexts = d_cache
    xp = namespace(d_checkpoints)
    zeros = xp.zeros(joined.checkpoints.shape, d_checkpoints.dtype), xp.zeros_like(joined.contexts)
    rows, slots = np.nonzero(settled.partners >= 0)
    alone = settled.columns.copy()
    alone[rows, slots] = -1
    d_joined = keep_backward(d_checkpoints, alone, zeros[0])
    d_pooled = keep_backward(d_contexts, alone, zeros[1])
    if not len(rows):
        return d_joined, d_pooled
    pair = _pair(joined, settled, (rows, slots))
    weights, gates = _weights(pair, merger)
    states = _states(pair, merger)
    d_mixed = entries(d_checkpoints, rows, slots).reshape(states[0].shape)
    d_states, _ = merger.rule.mix_backward(states, gates, _seen(gates), d_mixed)
    for i, columns in enumerate((settled.columns, settled.partners)):
        place = rows, columns[rows, slots]
        put_entries(d_joined, place, d_states[i].reshape(pair[i].checkpoints.shape))
        put_entries(d_pooled, place, weights[i] * entries(d_contexts, rows, slots))
    return d_joined, d_pooled


def _evicted(ledger: Array, columns: Array, policy: CachePolicy) -> Settled:
    none = np.full_like(columns, -1)
    over = (columns >= 0).sum(axis=1) > (policy.limit or np.inf)
    if not over.any():
        return Settled(columns, none)
    columns, partners = columns.copy(), none
    for row in np.flatnonzero(over):
        held = np.flatnonzero(columns[row] >= 0)
        entries = ledger[row, columns[row, held]]
        victim = held[_victim(entries, policy)]
        gone = columns[row, victim]
        columns[row, 1 : victim + 1] = columns[row, :victim].copy()
        columns[row, 0] = -1
        if policy.evict == "merge":
            partners[row, victim + 1] = columns[row, victim + 1]
            columns[row, victim + 1] = gone
    return Settled(columns[:, 1:], partners[:, 1:])


def _victim(entries: Array, policy: CachePolicy) -> int:
    """Place of the checkpoint that goes, or that is merged into the next one."""
    if policy.evict == "oldest":
        return 0
    if policy.evict == "merge":
        return int(np.argmin(entries[:-1, 0] + entries[1:, 0]))
    _, since, used = entries.T
    return int(np.argmin(np.where(since > 0, used / np.maximum(since, 1), np.inf)))


def _pair(joined: Cache, settled: Settled, place: tuple[Array, Array]) -> tuple[Cache, Cache]:
    """Both members of every merge: arrays (n, ...)."""
    rows, slots = place
    first, second = settled.columns[rows, slots], settled.partners[rows, slots]
    return tuple(Cache(*(entries(a, rows, column) for a in joined)) for column in (first, second))  # type: ignore[return-value]


def _states(pair: tuple[Cache, Cache], merger: Merger) -> list[Array]:
    return [merger.rule.unflatten(cache.checkpoints, merger.width) for cache in pair]


def _seen(gates: Array) -> Array:
    seen: Array = namespace(gates).ones(gates.shape[:2], bool)
    return seen


def _weights(pair: tuple[Cache, Cache], merger: Merger) -> tuple[list[Array], Array]:
    """What contexts count for, each (n, 1, 1), and what states do: (n, 2, H)."""
    first, second = (cache.ledger[:, 0] for cache in pair)
    states = pair[0].checkpoints
    dtype, heads = states.dtype, states.shape[1]
    shares = np.stack([first, second], axis=1) / (first + second)[:, None]
    pooled = np.ones_like(shares) if merger.sums else shares
    mixed = np.ones_like(shares) if merger.rule.family == "matrix" else shares
    gates: Array = np.broadcast_to(mixed[..., None].astype(dtype), (*mixed.shape, heads))
    counted = [like(states, pooled[:, i, None, None].astype(dtype)) for i in (0, 1)]
    return counted, like(states, gates)
