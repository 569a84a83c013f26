"""Weights of divided cached reads (see `quotient`), forward and backward.

With d_ti the denominator and w_ti = g_ti / d_ti,

    dg_ti = dw_ti / d_ti      dd_ti = -dw_ti w_ti / d_ti      dQ += dD N      dN = dD^T Q

where dd goes to n_i . q_t, or to the floor where that is larger. A gate of exactly 0 means "not
read": its gradient is reported as 0.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, clear, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.visible import visible_columns
from mcore.recurrence.linear import EPS


class QuotientInputs(NamedTuple):
    """Arrays of divided reads.

    Attributes:
        q: (B, T, H, K).
        normalizers: (B, C, H, K) n.
        floors: (B, C, H), or no elements.
        gates: (B, T, H, C), or no elements: all 1.
        bounds, first, last: of `Segments`.
    """

    q: Any
    normalizers: Any
    floors: Any
    gates: Any
    bounds: Any
    first: Any
    last: Any


class QuotientGradients(NamedTuple):
    """Gradients in the order and shapes of the first four `QuotientInputs`, gates and floors last."""

    q: Any
    normalizers: Any
    gates: Any
    floors: Any


class QuotientWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        q, dq: (n, K).
        normalizers, d_normalizers: (C, K).
        normalizers_t: (K, C).
        answers: (n, C) n_i . q_t, or their gradients.
        scales: (C,) denominators of a token.
        first, last: (n,) visible columns of a row.
    """

    q: Any
    dq: Any
    normalizers: Any
    d_normalizers: Any
    normalizers_t: Any
    answers: Any
    scales: Any
    first: Any
    last: Any


def quotient_work(x: QuotientInputs) -> QuotientWork:
    """Work arrays of one thread."""
    rows, keys, columns = min(ROWS, x.q.shape[1]), x.q.shape[3], x.normalizers.shape[1]
    shapes: list[tuple[int, ...]] = [(rows, keys)] * 2 + [(columns, keys)] * 2
    shapes += [(keys, columns), (rows, columns), (columns,)]
    arrays = [np.empty(shape, x.q.dtype) for shape in shapes]
    return QuotientWork(*arrays, np.empty(rows, np.int64), np.empty(rows, np.int64))


@kernel
def quotient_kernel(span: Any, x: Any, work: Any, weights: Any) -> None:
    """weights (B, T, H, C), zeros at first, for the tasks (row, head) in `span`."""
    heads, tokens, rows = x.q.shape[2], x.q.shape[1], work.q.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        _load_normalizers(x, b, h, work)
        for begin in range(0, tokens, rows):
            place = (b, h, begin, min(rows, tokens - begin))
            low, high = _answers(x, place, work)
            for t in range(place[3] if low < high else 0):
                _denominators(x, (b, h), t, work)
                for c in range(work.first[t], work.last[t]):
                    gate = x.gates[b, begin + t, h, c] if x.gates.size else work.scales[c] * 0 + 1
                    if gate != 0:
                        weights[b, begin + t, h, c] = gate / work.scales[c]


@device
def _load_normalizers(x: Any, b: int, h: int, work: Any) -> None:
    load_rows(x.normalizers, (b, h, 0, x.normalizers.shape[1]), work.normalizers)
    transpose(work.normalizers, work.normalizers_t)
    clear(work.d_normalizers)


@device
def _answers(x: Any, place: Any, work: Any) -> Any:
    """`n_i . q_t` of a block of tokens and the columns that it sees: low <= i < high."""
    load_rows(x.q, place, work.q)
    low, high = visible_columns(x, place, work.first, work.last)
    if low < high:
        seen = work.normalizers_t[:, low:high]
        gemm(work.q, seen, work.answers[:, low:high], 1.0, 0, FULL)
    return low, high


@device
def _denominators(x: Any, task: Any, t: int, work: Any) -> None:
    """d of row t of a block, in `work.scales`."""
    b, h = task
    scales, answers, eps = work.scales, work.answers[t], x.q.dtype.type(EPS)
    for c in range(work.first[t], work.last[t]):
        least = answers[c]
        if x.floors.size:
            least = max(abs(least), x.floors[b, c, h])
        scales[c] = least + eps


@kernel
def quotient_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`; given: weights and their gradient.

    Adds to those of q, gates and floors.
    """
    heads, tokens, rows = x.q.shape[2], x.q.shape[1], work.q.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        _load_normalizers(x, b, h, work)
        for begin in range(0, tokens, rows):
            place = (b, h, begin, min(rows, tokens - begin))
            low, high = _answers(x, place, work)
            if low < high:
                for t in range(place[3]):
                    _denominators(x, (b, h), t, work)
                    _token_backward(x, (b, begin + t, h), (t, low, high), (work, given), out)
                _products_backward(out.q, place, (low, high), work)
        store_rows(work.d_normalizers, out.normalizers, (b, h, 0, work.normalizers.shape[0]))


@device
def _token_backward(x: Any, at: Any, row: Any, given: Any, out: Any) -> None:
    """Row t of `answers` becomes its gradient; `at` = (b, t, h) of the call, `row` = (t, low, high)."""
    b, _, h = at
    t, low, high = row
    work, (weights, d_weights) = given
    answers, zero = work.answers[t], x.q.dtype.type(0)
    for c in range(low, high):
        inside = work.first[t] <= c < work.last[t]
        weight = weights[at][c]
        if not inside or weight == 0:
            answers[c] = 0
            continue
        d_gate = d_weights[at][c] / work.scales[c]
        d_scale, last = -weight * d_gate, answers[c]
        answers[c] = d_scale
        if x.gates.size:
            out.gates[at][c] = d_gate
        if x.floors.size:
            floored = abs(last) <= x.floors[b, c, h]
            out.floors[b, c, h] += d_scale if floored else zero
            answers[c] = zero if floored else (d_scale if last > 0 else -d_scale)


@device
def _products_backward(d_queries: Any, place: Any, columns: Any, work: Any) -> None:
    """`dQ += dD N`, `dN += dD^T Q` for the columns low <= i < high that a block sees."""
    low, high = columns
    n = place[3]
    d_answers = work.answers[:n, low:high]
    load_rows(d_queries, place, work.dq)
    gemm(d_answers, work.normalizers[low:high], work.dq, 1.0, 1, FULL)
    store_rows(work.dq, d_queries, place)
    gemm(d_answers.T, work.q[:n], work.d_normalizers[low:high], 1.0, 1, FULL)
