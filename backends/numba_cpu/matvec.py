"""Products of a matrix and a vector inside kernels, and rank-one changes."""

from typing import Any

import numba

from mcore.backends.numba_cpu.caching import device


@device
def times(matrix: Any, right: Any, out: Any) -> None:
    """`out = M right`; matrix (K, E)."""
    for i in range(matrix.shape[0]):
        total = matrix.dtype.type(0)
        for e in range(right.shape[0]):
            total += matrix[i, e] * right[e]
        out[i] = total


@device
def transposed_times(matrix: Any, left: Any, out: Any) -> None:
    """`out = M^T left`; four rows at a time, so that `out` is gone over less often."""
    keys = matrix.shape[0]
    whole = keys // 4 * 4
    for e in range(out.shape[0]):
        out[e] = 0
    for i in range(0, whole, 4):
        first, second, third, fourth = left[i], left[i + 1], left[i + 2], left[i + 3]
        for e in range(out.shape[0]):
            out[e] += (
                first * matrix[i, e]
                + second * matrix[i + 1, e]
                + third * matrix[i + 2, e]
                + fourth * matrix[i + 3, e]
            )
    for i in range(whole, keys):
        one = left[i]
        for e in range(out.shape[0]):
            out[e] += one * matrix[i, e]


@device
def add_outer(left: Any, right: Any, matrix: Any) -> None:
    """`M += left right^T`."""
    for i in range(matrix.shape[0]):
        one = left[i]
        for e in range(matrix.shape[1]):
            matrix[i, e] += one * right[e]


@device
def set_outer(left: Any, right: Any, matrix: Any) -> None:
    """`M = left right^T`."""
    for i in range(matrix.shape[0]):
        one = left[i]
        for e in range(matrix.shape[1]):
            matrix[i, e] = one * right[e]


@device
def descend(matrix: Any, rates: Any, left: Any, right: Any) -> None:
    """`M = decay M - step left right^T`; rates: (decay, step)."""
    decay, step = rates
    for i in range(matrix.shape[0]):
        one = step * left[i]
        for e in range(matrix.shape[1]):
            matrix[i, e] = decay * matrix[i, e] - one * right[e]


@device
def descend_backward(d: Any, before: Any, decay: Any, vectors: Any) -> Any:
    """Gradient d of M after `descend` becomes `decay d`, that of M before; returns `<d, before>`.

    vectors: (left, right) of the outer product, and where `d right` and `d^T left` go.
    """
    (left, right), (d_left, d_right) = vectors
    along = d.dtype.type(0)
    for e in range(right.shape[0]):
        d_right[e] = 0
    for i in range(d.shape[0]):
        one, total = left[i], d.dtype.type(0)
        for e in range(right.shape[0]):
            here = d[i, e]
            d_right[e] += one * here
            total += here * right[e]
            along += here * before[i, e]
            d[i, e] = decay * here
        d_left[i] = total
    return along


# Without "no NaN" a maximum does not vectorise.
@numba.njit(fastmath={"nnan", "nsz", "reassoc"}, error_model="numpy")
def largest(row: Any) -> Any:
    """The largest absolute value."""
    top = abs(row[0])
    for e in range(row.shape[0]):
        top = max(top, abs(row[e]))
    return top


@device
def highest(row: Any) -> Any:
    """The largest number; four at a time, for a maximum waits for the one before it."""
    whole = row.shape[0] // 4 * 4
    first = second = third = fourth = row[0]
    for e in range(0, whole, 4):
        first, second = max(first, row[e]), max(second, row[e + 1])
        third, fourth = max(third, row[e + 2]), max(fourth, row[e + 3])
    for e in range(whole, row.shape[0]):
        first = max(first, row[e])
    return max(max(first, second), max(third, fourth))
