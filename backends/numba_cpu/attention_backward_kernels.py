"""Causal softmax attention backwards: weights P are recomputed block by block from the row sums.

dV = P^T dY    dZ = P . (dY V^T - <dy, y>) / sqrt(K)    dQ = dZ K    dK = dZ^T Q
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.attention_kernels import AttentionInputs, key_range, seen_range
from mcore.backends.numba_cpu.blocks import (
    ROWS,
    clear,
    load_rows,
    load_scalars,
    row_dot,
    store_rows,
)
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose


class AttentionBackwardWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        q, dq: (n, K).
        y, dy: (n, V).
        weights, d_logits: (n, n).
        lse, mean: (n,) per row: log of its sum of exponentials, and <dy, y>.
        k, dk, v, dv: (M, K), (M, K), (M, V), (M, V) of one head.
        k_t, v_t: (K, M), (V, M).
    """

    q: Any
    dq: Any
    y: Any
    dy: Any
    weights: Any
    d_logits: Any
    lse: Any
    mean: Any
    k: Any
    dk: Any
    v: Any
    dv: Any
    k_t: Any
    v_t: Any


def attention_backward_work(x: AttentionInputs) -> AttentionBackwardWork:
    """Work arrays of one thread."""
    tokens, keys, values = x.k.shape[1], x.q.shape[3], x.v.shape[3]
    shapes = [(ROWS, keys)] * 2 + [(ROWS, values)] * 2 + [(ROWS, ROWS)] * 2 + [(ROWS,)] * 2
    shapes += [(tokens, keys)] * 2 + [(tokens, values)] * 2 + [(keys, tokens), (values, tokens)]
    return AttentionBackwardWork(*[np.empty(shape, x.q.dtype) for shape in shapes])


@kernel
def attention_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """out = (dq, dk, dv) for the tasks (row, head) in `span`; given = (y, lse, dy)."""
    y, lse, dy = given
    tokens, heads, keys = x.q.shape[1], x.q.shape[2], x.k.shape[1]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        whole = (b, h, 0, keys)
        _load_head(x, whole, work)
        for begin in range(0, tokens, ROWS):
            place = (b, h, begin, min(ROWS, tokens - begin))
            load_rows(x.q, place, work.q)
            load_rows(y, place, work.y)
            load_rows(dy, place, work.dy)
            load_scalars(lse, place, work.lse)
            for t in range(ROWS):
                work.mean[t] = row_dot(work.dy, work.y, t)
            clear(work.dq)
            first, last = key_range(x, begin, place[3])
            for column in range(first, last, ROWS):
                _add_keys(x, begin, (column, min(column + ROWS, last)), work)
            store_rows(work.dq, out[0], place)
        store_rows(work.dk, out[1], whole)
        store_rows(work.dv, out[2], whole)


@device
def _load_head(x: Any, place: Any, work: Any) -> None:
    load_rows(x.k, place, work.k)
    load_rows(x.v, place, work.v)
    transpose(work.k, work.k_t)
    transpose(work.v, work.v_t)
    clear(work.dk)
    clear(work.dv)


@device
def _add_keys(x: Any, begin: int, columns: Any, work: Any) -> None:
    """One block of keys against the block of queries in `work`."""
    first, last = columns
    scale = 1 / np.sqrt(x.q.dtype.type(x.q.shape[3]))
    gemm(work.q, work.k_t[:, first:last], work.weights, scale, 0, FULL)
    gemm(work.dy, work.v_t[:, first:last], work.d_logits, 1.0, 0, FULL)
    for t in range(ROWS):
        low, high = 0, 0
        if begin + t < x.q.shape[1]:
            low, high = seen_range(x, begin + t, columns)
        row = (work.lse[t], work.mean[t], scale)
        _softmax_backward(work.weights[t], work.d_logits[t], (low, high), row)
    weights, d_logits = work.weights[:, : last - first], work.d_logits[:, : last - first]
    gemm(weights.T, work.dy, work.dv[first:last], 1.0, 1, FULL)
    gemm(d_logits.T, work.q, work.dk[first:last], 1.0, 1, FULL)
    gemm(d_logits, work.k[first:last], work.dq, 1.0, 1, FULL)


@device
def _softmax_backward(weights: Any, d_logits: Any, seen: Any, row: Any) -> None:
    """Logits to weights, and the weights' gradient to the logits'; zeros where nothing is seen."""
    lse, mean, scale = row
    inside, d_inside = weights[seen[0] : seen[1]], d_logits[seen[0] : seen[1]]
    for j in range(inside.shape[0]):
        inside[j] = exp(inside[j] - lse)
    for j in range(inside.shape[0]):
        d_inside[j] = inside[j] * (d_inside[j] - mean) * scale
    for j in range(seen[0]):
        weights[j] = 0
        d_logits[j] = 0
    after, d_after = weights[seen[1] :], d_logits[seen[1] :]
    for j in range(after.shape[0]):
        after[j] = 0
        d_after[j] = 0
