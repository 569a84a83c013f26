"""Gradients of cached reads: for each block of tokens and each checkpoint it uses,

    X = dY S^T        dQ += w . X        dS += (w . Q)^T dY        dw_t = <q_t, X_t>

and with a normaliser the gradient of the quotient in place of dY.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import clear, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.visible import choose_rows, pick_rows, visible_columns
from mcore.recurrence.linear import EPS


@kernel
def read_backward_kernel(span: Any, x: Any, work: Any, dy: Any, out: Any) -> None:
    """Adds to out = (dq, d_states, d_gates), zeros at first, for the tasks in `span`."""
    dq = out[0]
    heads, tokens, rows = x.q.shape[2], x.q.shape[1], work.q.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        _transpose_states(x, b, h, work.states_t)
        for begin in range(0, tokens, rows):
            place = (b, h, begin, min(rows, tokens - begin))
            load_rows(x.q, place, work.q)
            load_rows(dy, place, work.y)
            clear(work.dq)
            low, high = visible_columns(x, place, work.first, work.last)
            for column in range(low, high):
                count = choose_rows(x, place, column, work)
                if count > 0:
                    _backward(x, (b, h, begin, column), count, work, out[1:])
            store_rows(work.dq, dq, place)


@device
def _transpose_states(x: Any, b: int, h: int, states_t: Any) -> None:
    """The checkpoints that some row of the batch row may read."""
    for column in range(x.first[b].min(), x.last[b].max()):
        transpose(x.states[b, column, h], states_t[column])


@device
def _backward(x: Any, place: Any, count: int, work: Any, out: Any) -> None:
    """One checkpoint, for the chosen rows of a block; `place` is (b, h, begin, column)."""
    b, h, _, column = place
    d_states, d_gates = out
    q = pick_rows(work.q, work.chosen, count, work.picked_q)
    dy = pick_rows(work.y, work.chosen, count, work.picked_y)
    rows, d_answers = work.rows[:count], work.answers[:count]
    if x.normalized:
        gemm(q, x.states[b, column, h], d_answers, 1.0, 0, FULL)
        _divide_backward(x, place, dy, d_answers, (work, d_gates))
        gemm(d_answers, work.states_t[column], rows, 1.0, 0, FULL)
        _weigh(x, place, q, rows, (work, d_gates[:0]))
        gemm(rows.T, d_answers, d_states[b, column, h], 1.0, 1, FULL)
    else:
        gemm(dy, work.states_t[column], rows, 1.0, 0, FULL)
        _weigh(x, place, q, rows, (work, d_gates))
        gemm(rows.T, dy, d_states[b, column, h], 1.0, 1, FULL)


@device
def _weigh(x: Any, place: Any, q: Any, rows: Any, out: Any) -> None:
    """From X in `rows`: `dQ += w . X` and `dw = <q, X>`; `rows` becomes `w . Q`."""
    b, h, begin, column = place
    work, d_gates = out
    for r in range(rows.shape[0]):
        t = work.chosen[r]
        weight, total = work.weights[t], x.q.dtype.type(0)
        for j in range(rows.shape[1]):
            total += q[r, j] * rows[r, j]
            work.dq[t, j] += weight * rows[r, j]
            rows[r, j] = weight * q[r, j]
        if d_gates.size and weight != 0:
            d_gates[b, begin + t, h, column] = total


@device
def _divide_backward(x: Any, place: Any, dy: Any, answers: Any, out: Any) -> None:
    """Numerators and denominators in `answers` become their gradients, for a weight of 1."""
    b, h, begin, column = place
    work, d_gates = out
    for r in range(dy.shape[0]):
        t, last = work.chosen[r], answers[r, -1]
        scale, total = last + x.q.dtype.type(EPS), x.q.dtype.type(0)
        if work.weights[t] == 0:
            scale = x.q.dtype.type(1)
        for j in range(dy.shape[1]):
            total += dy[r, j] * answers[r, j]
            answers[r, j] = dy[r, j] / scale
        answers[r, -1] = -total / (scale * scale)
        if d_gates.size and work.weights[t] != 0:
            d_gates[b, begin + t, h, column] = total / scale
