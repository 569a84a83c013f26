"""Gradients of the weights of divided cached reads (see `quotient_kernels`).

With d_ti the denominator and w_ti = g_ti / d_ti,

    dg_ti = dw_ti / d_ti      dd_ti = -dw_ti w_ti / d_ti      dQ += dD N      dN = dD^T Q

where dd goes to n_i . q_t, or to the floor where that is larger. A gate of exactly 0 means "not
read": its gradient is reported as 0.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gemm import FULL, gemm
from mcore.backends.numba_cpu.quotient_kernels import answers, denominators, load_memories


@kernel
def quotient_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`; given: weights and their gradient.

    Adds to that of q.
    """
    heads, tokens, rows = x.q.shape[2], x.q.shape[1], work.q.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        load_memories(x, b, h, work)
        for begin in range(0, tokens, rows):
            place = (b, h, begin, min(rows, tokens - begin))
            low, high = answers(x, place, work)
            if low < high:
                denominators(x, place, work)
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
