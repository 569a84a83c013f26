"""Products with the cubes of a matrix, u^3 with `u = A / L`, and rows that change as they are read.

`inverse` is 1 / L.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import clear


@device
def fourth_power(row: Any, inverse: Any) -> Any:
    """`sum u^4` of a row of A."""
    total = row.dtype.type(0)
    for e in range(row.shape[0]):
        u = row[e] * inverse
        total += u * u * (u * u)
    return total


@device
def scale_by(x: Any, factor: Any) -> None:
    """`x *= factor`."""
    for e in range(x.shape[0]):
        x[e] *= factor


@device
def excite_cubes(source: Any, x: Any, inverse: Any, before: Any) -> None:
    """`before = (u^3)^T x`."""
    keys, whole = x.shape[0], x.shape[0] // 4 * 4
    clear(before)
    for i in range(0, whole, 4):
        first, second, third, fourth = source[i], source[i + 1], source[i + 2], source[i + 3]
        for e in range(before.shape[0]):
            before[e] += (
                x[i] * _cube(first[e] * inverse)
                + x[i + 1] * _cube(second[e] * inverse)
                + x[i + 2] * _cube(third[e] * inverse)
                + x[i + 3] * _cube(fourth[e] * inverse)
            )
    for i in range(whole, keys):
        row = source[i]
        for e in range(before.shape[0]):
            before[e] += x[i] * _cube(row[e] * inverse)


@device
def _cube(u: Any) -> Any:
    return u * u * u


@device
def cubes_times(source: Any, inverse: Any, hidden: Any, said: Any) -> None:
    """`said = u^3 hidden`; four rows at a time, for a sum waits for the one before it."""
    keys, whole, zero = said.shape[0], said.shape[0] // 4 * 4, inverse * 0
    for i in range(0, whole, 4):
        first, second, third, fourth = source[i], source[i + 1], source[i + 2], source[i + 3]
        one, two, three, four = zero, zero, zero, zero
        for e in range(hidden.shape[0]):
            one += _cube(first[e] * inverse) * hidden[e]
            two += _cube(second[e] * inverse) * hidden[e]
            three += _cube(third[e] * inverse) * hidden[e]
            four += _cube(fourth[e] * inverse) * hidden[e]
        said[i], said[i + 1], said[i + 2], said[i + 3] = one, two, three, four
    for i in range(whole, keys):
        row, one = source[i], zero
        for e in range(hidden.shape[0]):
            one += _cube(row[e] * inverse) * hidden[e]
        said[i] = one


@device
def descend_row(row: Any, rates: Any, hidden: Any, down: Any) -> Any:
    """`down += back u^3`, then `row = a row - push hidden`; rates: (a, push, 1 / L, back)."""
    decay, push, inverse, back = rates
    total = row.dtype.type(0)
    for e in range(row.shape[0]):
        u = row[e] * inverse
        down[e] += back * (u * u * u)
        here = decay * row[e] - push * hidden[e]
        row[e] = here
        u = here * inverse
        total += u * u * (u * u)
    return total


@device
def turn_row(row: Any, rates: Any, down: Any, before: Any) -> Any:
    """`row = a row - push down`, then `before += q u^3`; rates: (a, push, 1 / L, q)."""
    decay, push, inverse, one = rates
    total = row.dtype.type(0)
    for e in range(row.shape[0]):
        here = decay * row[e] - push * down[e]
        row[e] = here
        u = here * inverse
        square = u * u
        before[e] += one * (square * u)
        total += square * square
    return total
