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
    """Gradients with respect to q, normalizers, gates, floors, in their shapes."""

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
        scales: (n, C) denominators, then their gradients.
        floors, d_floors: (C,).
        first, last: (n,) visible columns of a row.
    """

    q: Any
    dq: Any
    normalizers: Any
    d_normalizers: Any
    normalizers_t: Any
    answers: Any
    scales: Any
    floors: Any
    d_floors: Any
    first: Any
    last: Any


def quotient_work(x: QuotientInputs) -> QuotientWork:
    """Work arrays of one thread."""
    rows, keys, columns = min(ROWS, x.q.shape[1]), x.q.shape[3], x.normalizers.shape[1]
    shapes: list[tuple[int, ...]] = [(rows, keys)] * 2 + [(columns, keys)] * 2
    shapes += [(keys, columns), (rows, columns), (rows, columns), (columns,), (columns,)]
    arrays: list[Any] = [np.empty(shape, x.q.dtype) for shape in shapes]
    arrays += [np.empty(rows, np.int64) for _ in range(2)]
    return QuotientWork(*arrays)


@kernel
def quotient_kernel(span: Any, x: Any, work: Any, weights: Any) -> None:
    """weights (B, T, H, C), zeros at first, for the tasks (row, head) in `span`."""
    heads, tokens, rows = x.q.shape[2], x.q.shape[1], work.q.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        _load_memories(x, b, h, work)
        for begin in range(0, tokens, rows):
            place = (b, h, begin, min(rows, tokens - begin))
            low, high = _answers(x, place, work)
            if low < high:
                _denominators(x, place, work)
                _divide(x, place, work, weights)


@device
def _load_memories(x: Any, b: int, h: int, work: Any) -> None:
    """Normalisers and floors, and zeros for their gradients."""
    load_rows(x.normalizers, (b, h, 0, x.normalizers.shape[1]), work.normalizers)
    transpose(work.normalizers, work.normalizers_t)
    clear(work.d_normalizers)
    for c in range(x.floors.shape[1]):
        work.floors[c] = x.floors[b, c, h]
    for c in range(work.d_floors.shape[0]):
        work.d_floors[c] = 0


@device
def _divide(x: Any, place: Any, work: Any, weights: Any) -> None:
    """The weights of a block for the columns that each token sees."""
    b, h, begin, n = place
    zero, one = x.q.dtype.type(0), x.q.dtype.type(1)
    for t in range(n):
        scales, found = work.scales[t], weights[b, begin + t, h]
        if x.gates.size:
            gates = x.gates[b, begin + t, h]
            for c in range(work.first[t], work.last[t]):
                found[c] = gates[c] / scales[c] if gates[c] != 0 else zero
        else:
            for c in range(work.first[t], work.last[t]):
                found[c] = one / scales[c]


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
def _denominators(x: Any, place: Any, work: Any) -> None:
    """d of a block, in `work.scales`."""
    floors, eps = work.floors, x.q.dtype.type(EPS)
    for t in range(place[3]):
        scales, answers = work.scales[t], work.answers[t]
        if x.floors.size:
            for c in range(work.first[t], work.last[t]):
                scales[c] = max(abs(answers[c]), floors[c]) + eps
        else:
            for c in range(work.first[t], work.last[t]):
                scales[c] = answers[c] + eps


@kernel
def quotient_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`; given: weights and their gradient.

    Adds to that of q.
    """
    heads, tokens, rows = x.q.shape[2], x.q.shape[1], work.q.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        _load_memories(x, b, h, work)
        for begin in range(0, tokens, rows):
            place = (b, h, begin, min(rows, tokens - begin))
            low, high = _answers(x, place, work)
            if low < high:
                _denominators(x, place, work)
                _scales_backward(x, place, work, given, out)
                _answers_backward(x, place, (low, high), work)
                _products_backward(out.q, place, (low, high), work)
        store_rows(work.d_normalizers, out.normalizers, (b, h, 0, work.normalizers.shape[0]))
        for c in range(x.floors.shape[1]):
            out.floors[b, c, h] = work.d_floors[c]


@device
def _scales_backward(x: Any, place: Any, work: Any, given: Any, out: Any) -> None:
    """`scales` of a block become their gradients, and the gates get theirs."""
    b, h, begin, n = place
    zero = x.q.dtype.type(0)
    for t in range(n):
        low, high, scales = work.first[t], work.last[t], work.scales[t]
        weights, d_weights = given[0][b, begin + t, h], given[1][b, begin + t, h]
        for c in range(low, high):
            scales[c] = d_weights[c] / scales[c] if weights[c] != 0 else zero
        if x.gates.size:
            d_gates = out.gates[b, begin + t, h]
            for c in range(low, high):
                d_gates[c] = scales[c]
        for c in range(low, high):
            scales[c] *= -weights[c]


@device
def _answers_backward(x: Any, place: Any, columns: Any, work: Any) -> None:
    """From the gradients in `scales` to those of `answers` and of the floors."""
    floors, d_floors, zero = work.floors, work.d_floors, x.q.dtype.type(0)
    for t in range(place[3]):
        answers, scales, low, high = work.answers[t], work.scales[t], work.first[t], work.last[t]
        for c in range(columns[0], min(low, columns[1])):
            answers[c] = 0
        for c in range(max(low, high), columns[1]):
            answers[c] = 0
        if x.floors.size == 0:
            for c in range(low, high):
                answers[c] = scales[c]
            continue
        for c in range(low, high):
            d_floors[c] += scales[c] if abs(answers[c]) <= floors[c] else zero
        for c in range(low, high):
            d_last = scales[c] if answers[c] > 0 else -scales[c]
            answers[c] = zero if abs(answers[c]) <= floors[c] else d_last


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
