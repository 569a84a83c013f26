"""Causal softmax attention by blocks of queries and keys, forward.

For each block of queries, the running maximum m and sum l of every row are kept while blocks of
keys pass by, so no matrix of all weights exists (Rabe and Staats 2021; Dao et al. 2022).
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, clear, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import exp, row_max
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose


class AttentionInputs(NamedTuple):
    """q (B, T, H, K), k (B, M, H, K), v (B, M, H, V); a token sees `window` tokens with itself."""

    q: Any
    k: Any
    v: Any
    window: Any


class AttentionWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        q, y: (n, K), (n, V).
        weights: (n, n).
        top, total: (n,) maximum of the logits of a row so far, and the sum below it.
        k, v: (M, K), (M, V) of one head.
        k_t: (K, M).
    """

    q: Any
    y: Any
    weights: Any
    top: Any
    total: Any
    k: Any
    v: Any
    k_t: Any


def attention_work(x: AttentionInputs) -> AttentionWork:
    """Work arrays of one thread."""
    tokens, keys, values = x.k.shape[1], x.q.shape[3], x.v.shape[3]
    shapes = [(ROWS, keys), (ROWS, values), (ROWS, ROWS), (ROWS,), (ROWS,)]
    shapes += [(tokens, keys), (tokens, values), (keys, tokens)]
    return AttentionWork(*[np.empty(shape, x.q.dtype) for shape in shapes])


@kernel
def attention_kernel(span: Any, x: Any, work: Any, y: Any, lse: Any) -> None:
    """y (B, T, H, V) and the log of each row's sum of exponentials (B, T, H)."""
    tokens, heads, keys = x.q.shape[1], x.q.shape[2], x.k.shape[1]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        load_rows(x.k, (b, h, 0, keys), work.k)
        load_rows(x.v, (b, h, 0, keys), work.v)
        transpose(work.k, work.k_t)
        for begin in range(0, tokens, ROWS):
            place = (b, h, begin, min(ROWS, tokens - begin))
            load_rows(x.q, place, work.q)
            clear(work.y)
            work.top[:] = -np.inf
            work.total[:] = 0
            first, last = key_range(x, begin, place[3])
            for column in range(first, last, ROWS):
                _add_keys(x, begin, (column, min(column + ROWS, last)), work)
            for t in range(place[3]):
                lse[b, begin + t, h] = work.top[t] + np.log(work.total[t])
                for j in range(work.y.shape[1]):
                    work.y[t, j] /= work.total[t]
            store_rows(work.y, y, place)


@device
def key_range(x: Any, begin: int, count: int) -> Any:
    """The keys that some of the `count` queries from `begin` on may see."""
    position = x.k.shape[1] - x.q.shape[1] + begin
    return max(0, position - x.window + 1), position + count


@device
def seen_range(x: Any, t: int, columns: Any) -> Any:
    """The part of `columns` = (first, last) that query t sees, counted from `first`."""
    position = x.k.shape[1] - x.q.shape[1] + t
    low = max(position - x.window + 1 - columns[0], 0)
    return low, max(min(position + 1, columns[1]) - columns[0], low)


@device
def _add_keys(x: Any, begin: int, columns: Any, work: Any) -> None:
    """Let one block of keys pass by the block of queries in `work`."""
    first, last = columns
    scale = 1 / np.sqrt(x.q.dtype.type(x.q.shape[3]))
    gemm(work.q, work.k_t[:, first:last], work.weights, scale, 0, FULL)
    rows = min(ROWS, x.q.shape[1] - begin)
    for t in range(rows):
        low, high = seen_range(x, begin + t, columns)
        before = work.top[t]
        work.top[t], total = _exponentials(work.weights[t], (low, high), before)
        shrink = exp(before - work.top[t])
        work.total[t] = work.total[t] * shrink + total
        for j in range(work.y.shape[1]):
            work.y[t, j] *= shrink
    weights = work.weights[:rows, : last - first]
    gemm(weights, work.v[first:last], work.y[:rows], 1.0, 1, FULL)


@device
def _exponentials(row: Any, span: Any, before: Any) -> Any:
    """Logits in `span` to weights relative to their maximum, zeros elsewhere: maximum and sum.

    `before` is the maximum so far.
    """
    low, high = span
    # Loops over slices from 0 vectorise; loops from `low` would test every index for its sign.
    seen, after = row[low:high], row[high:]
    top, total = row_max(seen, before), row.dtype.type(0)
    for j in range(seen.shape[0]):
        seen[j] = exp(seen[j] - top)
    for j in range(seen.shape[0]):
        total += seen[j]
    for j in range(low):
        row[j] = 0
    for j in range(after.shape[0]):
        after[j] = 0
    return top, total
