"""Cached reads `y_t = sum_i g_ti read(M_i, q_t)`: a block of tokens against each checkpoint.

A checkpoint that only few rows of a block use (a sparse readout) is read for those rows alone. A
gate of exactly 0 means "not read": its gradient is reported as 0.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, clear, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gemm import FULL, gemm
from mcore.backends.numba_cpu.visible import choose_rows, pick_rows, visible_columns
from mcore.recurrence.linear import EPS


class ReadInputs(NamedTuple):
    """Arrays of a read.

    Attributes:
        q: (B, T, H, K).
        states: (B, C, H, K, W); W = V, or V + 1 with the normaliser as last column.
        gates: (B, T, H, C), or no elements: all 1.
        bounds, first, last: of `Segments`.
        normalized: whether answers are divided by the last column.
    """

    q: Any
    states: Any
    gates: Any
    bounds: Any
    first: Any
    last: Any
    normalized: Any


class ReadWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        q, dq, rows: (n, K) queries, their gradient, and scratch.
        y, dy: (n, V) answers or their gradient.
        picked_q, picked_y: (n, K), (n, V) chosen rows, one after another.
        answers: (n, W) answers of one checkpoint, or their gradient.
        weights, first, last, chosen: (n,) per row: gate, visible columns; chosen rows.
        states_t: (C, W, K) all checkpoints transposed (backward).
    """

    q: Any
    dq: Any
    rows: Any
    y: Any
    picked_q: Any
    picked_y: Any
    answers: Any
    weights: Any
    first: Any
    last: Any
    chosen: Any
    states_t: Any


def forward_work(x: ReadInputs) -> ReadWork:
    """Work arrays of one thread for `read_kernel`."""
    return _work(x, 0)


def backward_work(x: ReadInputs) -> ReadWork:
    """Work arrays of one thread for `read_backward_kernel`."""
    return _work(x, x.states.shape[1])


def _work(x: ReadInputs, columns: int) -> ReadWork:
    rows, dtype = min(ROWS, x.q.shape[1]), x.q.dtype
    keys, width = x.states.shape[3:]
    values = width - x.normalized
    shapes = [(rows, keys)] * 3 + [(rows, values), (rows, keys), (rows, values), (rows, width)]
    arrays: list[Any] = [np.empty(shape, dtype) for shape in (*shapes, rows)]
    arrays += [np.empty(rows, np.int64) for _ in range(3)]
    arrays.append(np.empty((columns, width, keys), dtype))
    return ReadWork(*arrays)


@kernel
def read_kernel(span: Any, x: Any, work: Any, y: Any) -> None:
    """y (B, T, H, V) for the tasks (row, head) in `span`."""
    heads, tokens, rows = x.q.shape[2], x.q.shape[1], work.q.shape[0]
    for task in range(span[0], span[1]):
        for begin in range(0, tokens, rows):
            place = (task // heads, task % heads, begin, min(rows, tokens - begin))
            load_rows(x.q, place, work.q)
            clear(work.y)
            low, high = visible_columns(x, place, work.first, work.last)
            for column in range(low, high):
                count = choose_rows(x, place, column, work)
                if count > 0:
                    _read_checkpoint(x, (place[0], column, place[1]), count, work)
            store_rows(work.y, y, place)


@device
def _read_checkpoint(x: Any, memory: Any, count: int, work: Any) -> None:
    """Add the weighted answers of the checkpoint at `memory` = (b, column, h) to `work.y`."""
    chosen, state = work.chosen, x.states[memory]
    q = pick_rows(work.q, chosen, count, work.picked_q)
    begin, end = chosen[0], chosen[count - 1] + 1
    if end - begin == count and not x.normalized:
        gemm(q, state, work.y[begin:end], work.weights[begin:end], 1, FULL)
        return
    gemm(q, state, work.answers[:count], 1.0, 0, FULL)
    for r in range(count):
        t = chosen[r]
        weight = work.weights[t]
        if x.normalized and weight != 0:
            weight /= work.answers[r, -1] + x.q.dtype.type(EPS)
        for j in range(work.y.shape[1]):
            work.y[t, j] += weight * work.answers[r, j]
