"""Checkpoints whose answers are divided: their gates are, so that reads stay as wide as the values.

    w_it / d_it        d_it = n_i . q_t + eps, or max(|n_i . q_t|, floor_i) + eps

All denominators of a chunk come from one matrix product of normalisers and queries.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import clear, copy
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.recurrence.linear import EPS


@device
def load_normalizers(x: Any, b: int, h: int, work: Any) -> None:
    """The normalisers of a row and head, if there are any."""
    if x.divisors.normalizers.size:
        copy(x.divisors.normalizers[b, :, h], work.normalizers)


@device
def divide_gates(x: Any, place: Any, q: Any, work: Any) -> None:
    """Denominators before floors and eps, and divided gates of segment `place` = (b, h, s)."""
    b, h, s = place
    first, last = x.first[b, s], x.last[b, s]
    transpose(q, work.q_t)
    gemm(work.normalizers[first:last], work.q_t, work.denominators[first:last], 1.0, 0, FULL)
    for i in range(first, last):
        for t in range(work.q_t.shape[1]):
            least = work.denominators[i, t]
            if x.divisors.floors.size:
                least = max(abs(least), x.divisors.floors[b, i, h])
            work.divided[i, t] = work.weights[i, t] / (least + x.u.dtype.type(EPS))


@device
def divide_gates_backward(x: Any, place: Any, work: Any, floors: Any) -> None:
    """From the gradients of divided gates, in `d_weights`, to those of gates; and of normalisers.

    `work.gates.denominators` becomes its gradient; adds to the queries' in `scan.out.q`, and to
    `floors` (B, C, H).
    """
    b, h, s = place
    first, last = x.first[b, s], x.last[b, s]
    gates, eps, zero = work.gates, x.u.dtype.type(EPS), x.u.dtype.type(0)
    for i in range(first, last):
        for t in range(gates.q_t.shape[1]):
            raw = gates.denominators[i, t]
            floor = x.divisors.floors[b, i, h] if x.divisors.floors.size else zero
            size = abs(raw) if x.divisors.floors.size else raw
            floored = x.divisors.floors.size > 0 and size <= floor
            d_gate = work.d_weights[i, t] / ((floor if floored else size) + eps)
            d_divisor = -d_gate * gates.divided[i, t]
            work.d_weights[i, t] = d_gate
            if floored and not x.detach:
                floors[b, i, h] += d_divisor
            sign = -1 if x.divisors.floors.size and raw < 0 else 1
            gates.denominators[i, t] = zero if floored else sign * d_divisor
    d_denominators = gates.denominators[first:last]
    gemm(d_denominators.T, gates.normalizers[first:last], work.scan.out.q, 1.0, 1, FULL)
    gemm(d_denominators, work.scan.chunk.q, work.d_normalizers[first:last], 1.0, 1, FULL)


@device
def store_normalizers(x: Any, place: Any, work: Any, out: Any) -> None:
    """The gradient of the normalisers of a row and head, if there are any."""
    b, h = place
    if x.divisors.normalizers.size:
        copy(work.d_normalizers, out.divisors.normalizers[b, :, h])
        clear(work.d_normalizers)
