"""Routing: contexts and online logits in one pass over the keys, then gates block by block.

r_ti = <u_t, context_i> / sqrt(K),  r_t,online = <u_t, mean of the keys so far> / sqrt(K)

Or sums in place of means; or the online memory outside the softmax, with gate 1.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, load_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import softmax_row
from mcore.backends.numba_cpu.gemm import FULL, gemm
from mcore.backends.numba_cpu.route_contexts import load_contexts, pool_segment
from mcore.backends.numba_cpu.selection import draw_lots, drop_all_but_best
from mcore.backends.numba_cpu.visible import visible_columns


class RouteInputs(NamedTuple):
    """Arrays of a routing.

    Attributes:
        u, keys: (B, T, H, K).
        cached, before: `Pool`'s contexts (B, cached, H, K) and key sum (B, H, K).
        bounds, first, last, offset: of `Segments`.
        place: (B, T) as of `Segments`, if checkpoints are chosen by lot; else empty.
        seed: of the lots.
        top_k: how many checkpoints are read; 0 for all.
        sums, outside, detach: 1 for the router's `pool: sum`, `online: outside`, `detach`; else 0.
    """

    u: Any
    keys: Any
    cached: Any
    before: Any
    bounds: Any
    first: Any
    last: Any
    offset: Any
    place: Any
    seed: Any
    top_k: Any
    sums: Any
    outside: Any
    detach: Any


class RouteWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        u, du: (n, K).
        logits: (n, C).
        contexts, contexts_t: (C, K) and (K, C) of one row and head.
        online: (T,) logits of the online memory.
        sums: (K,) running sum of keys.
        first, last: (n,) visible columns.
        best: (top_k,) largest logits of a row.
        lots, winners: (C,) and (top_k,) float64 lots of a row and the largest of them.
    """

    u: Any
    du: Any
    logits: Any
    contexts: Any
    contexts_t: Any
    online: Any
    sums: Any
    first: Any
    last: Any
    best: Any
    lots: Any
    winners: Any


def columns_of(x: RouteInputs) -> int:
    """Number of checkpoint columns, as `Segments.columns`."""
    return int(x.cached.shape[1] + x.first.shape[1] - 1)


def route_work(x: RouteInputs) -> RouteWork:
    """Work arrays of one thread."""
    tokens, keys, dtype, columns = x.u.shape[1], x.u.shape[3], x.u.dtype, columns_of(x)
    rows = min(ROWS, tokens)
    blocks = [(rows, keys), (rows, keys), (rows, columns), (columns, keys), (keys, columns)]
    arrays: list[Any] = [np.empty(shape, dtype) for shape in (*blocks, tokens, keys)]
    arrays += [np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(x.top_k, dtype)]
    arrays += [np.empty(columns), np.empty(x.top_k)]
    return RouteWork(*arrays)


@kernel
def route_kernel(span: Any, x: Any, work: Any, out: Any) -> None:
    """out = (gates (B, T, H, C + 1), contexts (B, S, H, K)) for `span`."""
    gates, contexts = out
    heads, tokens, rows = x.u.shape[2], x.u.shape[1], work.u.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        load_contexts(x.cached, b, h, work.contexts_t)
        for s in range(x.first.shape[1]):
            if x.bounds[b, s] < x.bounds[b, s + 1]:
                pool_segment(x, (b, h, s), work, contexts)
        for begin in range(0, tokens, rows):
            _gate_block(x, (b, h, begin, min(rows, tokens - begin)), work, gates)


@device
def _gate_block(x: Any, place: Any, work: Any, gates: Any) -> None:
    b, h, begin, n = place
    _, high = visible_columns(x, place, work.first, work.last)
    if high > 0:
        load_rows(x.u, place, work.u)
        scale = 1 / np.sqrt(x.u.dtype.type(x.u.shape[3]))
        gemm(work.u, work.contexts_t[:, :high], work.logits[:, :high], scale, 0, FULL)
    for t in range(n):
        row = gates[b, begin + t, h]
        seen = row[work.first[t] : work.last[t]]
        for i in range(row.shape[0]):
            row[i] = 0
        for i in range(seen.shape[0]):
            seen[i] = work.logits[t, work.first[t] + i]
        if 0 < x.top_k < seen.shape[0]:
            _select(x, (b, h, begin + t), work, seen)
        if x.outside:
            row[-1] = 1
            if seen.shape[0] > 0:
                softmax_row(seen, x.u.dtype.type(-np.inf))
        else:
            row[-1] = softmax_row(seen, work.online[begin + t])


@device
def _select(x: Any, place: Any, work: Any, logits: Any) -> None:
    """Set all but `top_k` of a token's logits to -inf; `place` = (b, h, t)."""
    b, h, t = place
    if x.place.size > 0:
        lots = work.lots[: logits.shape[0]]
        draw_lots(x.seed, x.place[b, t], h, lots)
        drop_all_but_best(lots, logits, work.winners)
    else:
        drop_all_but_best(logits, logits, work.best)
