"""Unit lower triangular systems, in place: `(I + L) X = R` and `(I + L)^T X = R`.

Blocks of a few rows are updated by one matrix product with all rows solved before, then solved
among themselves by substitution.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.gemm import FULL, gemm

_ROWS = 4


@device
def _subtract_row(x: Any, target: int, source: int, factor: Any) -> None:
    for j in range(x.shape[1]):
        x[target, j] -= factor * x[source, j]


@device
def solve_lower(l: Any, x: Any) -> None:  # noqa: E741
    """`X <- (I + L)^{-1} X`; only the part of `l` strictly below its diagonal is read.

    Shapes: l (c, c), x (c, n) with unit column stride.
    """
    count = x.shape[0]
    for begin in range(0, count, _ROWS):
        end = min(begin + _ROWS, count)
        if begin > 0:
            gemm(l[begin:end, :begin], x[:begin], x[begin:end], -1.0, 1, FULL)
        for i in range(begin + 1, end):
            for j in range(begin, i):
                _subtract_row(x, i, j, l[i, j])


@device
def solve_lower_transposed(l: Any, x: Any) -> None:  # noqa: E741
    """`X <- (I + L)^{-T} X`; otherwise as `solve_lower`."""
    count = x.shape[0]
    for begin in range((count - 1) // _ROWS * _ROWS, -1, -_ROWS):
        end = min(begin + _ROWS, count)
        if end < count:
            gemm(l[end:, begin:end].T, x[end:], x[begin:end], -1.0, 1, FULL)
        for i in range(end - 2, begin - 1, -1):
            for j in range(i + 1, end):
                _subtract_row(x, i, j, l[j, i])
