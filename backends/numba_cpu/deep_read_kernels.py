"""Cached reads of perceptrons: `y_t = sum_i g_ti (q_t + gelu(q_t w_in^i) w_out^i)`.

Checkpoint after checkpoint, so that one perceptron stays in the fast caches while blocks of tokens
pass by. A checkpoint that only few rows of a block use is read for those rows alone. A gate of
exactly 0 means "not read": its gradient is reported as 0.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, load_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gelu_vector import gelu_value
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.visible import choose_rows, pick_rows, visible_columns


class DeepReadInputs(NamedTuple):
    """Arrays of a read.

    Attributes:
        q: (B, T, H, K).
        states: (B, C, H, R, E); rows 0 to K are w_in, K to 2 K the transpose of w_out.
        gates: (B, T, H, C), or no elements: all 1.
        bounds, first, last: of `Segments`.
    """

    q: Any
    states: Any
    gates: Any
    bounds: Any
    first: Any
    last: Any


class DeepReadWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        q, picked: (n, K) queries, and the chosen ones.
        answers: (n, K) answers of one checkpoint.
        before, hidden: (n, E) before and after the activation.
        w_out: (E, K) of one checkpoint.
        weights, first, last, chosen: (n,) per row: gate, visible columns; chosen rows.
    """

    q: Any
    picked: Any
    answers: Any
    before: Any
    hidden: Any
    w_out: Any
    weights: Any
    first: Any
    last: Any
    chosen: Any


def work(x: DeepReadInputs) -> DeepReadWork:
    """Work arrays of one thread for `deep_read_kernel`."""
    rows, dtype = min(ROWS, x.q.shape[1]), x.q.dtype
    keys, width = x.q.shape[3], x.states.shape[4]
    shapes = [(rows, keys)] * 3 + [(rows, width), (rows, width), (width, keys), (rows,)]
    arrays: list[Any] = [np.empty(shape, dtype) for shape in shapes]
    return DeepReadWork(*arrays, *(np.empty(rows, np.int64) for _ in range(3)))


@kernel
def deep_read_kernel(span: Any, x: Any, work: Any, y: Any) -> None:
    """Adds to y (B, T, H, K), zeros at first, for the tasks (row, head) in `span`."""
    heads, tokens, rows, keys = x.q.shape[2], x.q.shape[1], work.q.shape[0], x.q.shape[3]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        for column in range(x.first[b].min(), x.last[b].max()):
            transpose(x.states[b, column, h, keys : 2 * keys], work.w_out)
            for begin in range(0, tokens, rows):
                place = (b, h, begin, min(rows, tokens - begin))
                count = choose_block(x, place, column, work)
                if count > 0:
                    _read_block(x, place, column, (count, work), y)


@device
def choose_block(x: Any, place: Any, column: int, work: Any) -> int:
    """The rows of the block at `place` that a checkpoint is read for, in `work.chosen`."""
    low, high = visible_columns(x, place, work.first, work.last)
    return choose_rows(x, place, column, work) if low <= column < high else 0


@device
def _read_block(x: Any, place: Any, column: int, given: Any, y: Any) -> None:
    """Add the weighted answers of one checkpoint to the chosen rows of a block."""
    count, work = given
    b, h, begin, _ = place
    load_rows(x.q, place, work.q)
    q = pick_rows(work.q, work.chosen, count, work.picked)
    before, hidden, answers = work.before, work.hidden[:count], work.answers
    gemm(q, x.states[b, column, h, : q.shape[1]], before, 1.0, 0, FULL)
    for r in range(count):
        gelu_value(before[r], hidden[r])
    gemm(hidden, work.w_out, answers, 1.0, 0, FULL)
    for r in range(count):
        t = work.chosen[r]
        weight = work.weights[t]
        for j in range(q.shape[1]):
            y[b, begin + t, h, j] += weight * (q[r, j] + answers[r, j])
