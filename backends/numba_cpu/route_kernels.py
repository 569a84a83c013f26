"""Routing: contexts and online logits in one pass over the keys, then gates block by block.

r_ti = <u_t, context_i> / sqrt(K),  r_t,online = <u_t, mean of the keys so far> / sqrt(K)
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, load_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import softmax_row
from mcore.backends.numba_cpu.gemm import FULL, gemm
from mcore.backends.numba_cpu.visible import visible_columns


class RouteInputs(NamedTuple):
    """Arrays of a routing.

    Attributes:
        u, keys: (B, T, H, K).
        cached, before: `Pool`'s contexts (B, cached, H, K) and key sum (B, H, K).
        bounds, first, last, offset: of `Segments`.
        top_k: how many checkpoints are read; 0 for all.
    """

    u: Any
    keys: Any
    cached: Any
    before: Any
    bounds: Any
    first: Any
    last: Any
    offset: Any
    top_k: Any


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
    return RouteWork(*arrays)


@kernel
def route_kernel(span: Any, x: Any, work: Any, out: Any) -> None:
    """out = (gates (B, T, H, C + 1), contexts (B, S, H, K)) for `span`."""
    gates, contexts = out
    heads, tokens, rows = x.u.shape[2], x.u.shape[1], work.u.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        _load_contexts(x.cached, b, h, work.contexts_t)
        for s in range(x.first.shape[1]):
            if x.bounds[b, s] < x.bounds[b, s + 1]:
                _pool_segment(x, (b, h, s), work, contexts)
        for begin in range(0, tokens, rows):
            _gate_block(x, (b, h, begin, min(rows, tokens - begin)), work, gates)


@device
def _load_contexts(cached: Any, b: int, h: int, contexts_t: Any) -> None:
    for i in range(cached.shape[1]):
        for j in range(cached.shape[3]):
            contexts_t[j, i] = cached[b, i, h, j]


@device
def start_sums(x: Any, place: Any, sums: Any) -> int:
    """Key sum with which segment `place` = (b, h, s) begins, and its number of tokens."""
    b, h, s = place
    for j in range(sums.shape[0]):
        sums[j] = x.before[b, h, j] if s == 0 else 0
    return x.offset[b] if s == 0 else 0


@device
def _pool_segment(x: Any, place: Any, work: Any, contexts: Any) -> None:
    """Online logits of the segment's tokens, and its context."""
    b, h, s = place
    sums, count = work.sums, start_sums(x, place, work.sums)
    scale = 1 / np.sqrt(x.u.dtype.type(x.u.shape[3]))
    for t in range(x.bounds[b, s], x.bounds[b, s + 1]):
        count += 1
        logit = x.u.dtype.type(0)
        for j in range(sums.shape[0]):
            sums[j] += x.keys[b, t, h, j]
            logit += sums[j] * x.u[b, t, h, j]
        work.online[t] = logit * scale / x.u.dtype.type(count)
    column = x.cached.shape[1] + s
    for j in range(sums.shape[0]):
        contexts[b, s, h, j] = sums[j] / x.u.dtype.type(count)
        if column < work.contexts_t.shape[1]:
            work.contexts_t[j, column] = contexts[b, s, h, j]


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
            _drop_all_but_best(seen, work.best)
        row[-1] = softmax_row(seen, work.online[begin + t])


@device
def _drop_all_but_best(logits: Any, best: Any) -> None:
    """Set all but the `best.size` largest logits to -inf; ties go to the lower index."""
    count = best.shape[0]
    best[:] = -np.inf
    for i in range(logits.shape[0]):
        if logits[i] > best[count - 1]:
            place = count - 1
            while place > 0 and best[place - 1] < logits[i]:
                best[place] = best[place - 1]
                place -= 1
            best[place] = logits[i]
    equal = 0
    for i in range(count):
        equal += best[i] == best[count - 1]
    for i in range(logits.shape[0]):
        if logits[i] == best[count - 1] and equal > 0:
            equal -= 1
        elif not logits[i] > best[count - 1]:
            logits[i] = -np.inf
