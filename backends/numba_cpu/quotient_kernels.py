"""Weights of divided cached reads (see `quotient`): `w_ti = g_ti / d_ti`, d_ti the denominator."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, clear, load_rows
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
        load_memories(x, b, h, work)
        for begin in range(0, tokens, rows):
            place = (b, h, begin, min(rows, tokens - begin))
            low, high = answers(x, place, work)
            if low < high:
                denominators(x, place, work)
                _divide(x, place, work, weights)


@device
def load_memories(x: Any, b: int, h: int, work: Any) -> None:
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
def answers(x: Any, place: Any, work: Any) -> Any:
    """`n_i . q_t` of a block of tokens and the columns that it sees: low <= i < high."""
    load_rows(x.q, place, work.q)
    low, high = visible_columns(x, place, work.first, work.last)
    if low < high:
        seen = work.normalizers_t[:, low:high]
        gemm(work.q, seen, work.answers[:, low:high], 1.0, 0, FULL)
    return low, high


@device
def denominators(x: Any, place: Any, work: Any) -> None:
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
