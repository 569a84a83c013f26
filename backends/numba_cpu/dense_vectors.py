"""Loops over contiguous rows that kernels of dense layers have in common.

Those that touch many are compiled `apart`: their arrays must not overlap.
"""

from typing import Any

from mcore.backends.numba_cpu.apart import apart
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import sigmoid


@device
def fill(target: Any, value: Any) -> None:
    """`target = value`."""
    for j in range(target.shape[0]):
        target[j] = value


@device
def move(source: Any, target: Any) -> None:
    """`target = source`."""
    for j in range(source.shape[0]):
        target[j] = source[j]


@device
def multiply(x: Any, y: Any, target: Any) -> None:
    """`target = x y`."""
    for j in range(target.shape[0]):
        target[j] = x[j] * y[j]


@device
def add_product(x: Any, y: Any, target: Any) -> None:
    """`target += x y`."""
    for j in range(target.shape[0]):
        target[j] += x[j] * y[j]


@device
def dot(x: Any, y: Any) -> Any:
    """`<x, y>`."""
    total = x.dtype.type(0)
    for j in range(x.shape[0]):
        total += x[j] * y[j]
    return total


@device
def scaled(x: Any, factor: Any, target: Any) -> None:
    """`target = factor x`."""
    for j in range(target.shape[0]):
        target[j] = factor * x[j]


@device
def silu(x: Any) -> None:
    """`x = x sigmoid(x)`, in place."""
    for j in range(x.shape[0]):
        x[j] *= sigmoid(x[j])


@device
def silu_and_slope(x: Any, slope: Any) -> None:
    """`slope = silu'(x)`, then `x = silu(x)`."""
    one = x.dtype.type(1)
    for j in range(x.shape[0]):
        gate = sigmoid(x[j])
        active = x[j] * gate
        slope[j] = gate + active * (one - gate)
        x[j] = active


@apart
def filter_four(rows: Any, taps: Any, target: Any) -> None:
    """`target = sum_i rows_i taps_i`, the last first; `rows` and `taps` are four rows each."""
    a, b, c, d = rows
    for j in range(target.shape[0]):
        y = d[j] * taps[3, j]
        y += c[j] * taps[2, j]
        y += b[j] * taps[1, j]
        y += a[j] * taps[0, j]
        target[j] = y


@apart
def add_to_four(gradient: Any, rows: Any, target: Any) -> None:
    """`target_i += gradient rows_i` for four rows."""
    a, b, c, d = rows
    for j in range(gradient.shape[0]):
        g = gradient[j]
        target[0, j] += g * a[j]
        target[1, j] += g * b[j]
        target[2, j] += g * c[j]
        target[3, j] += g * d[j]


@apart
def scaled_product(x: Any, factor: Any, y: Any, target: Any) -> None:
    """`target = factor x y`."""
    for j in range(target.shape[0]):
        target[j] = factor * x[j] * y[j]


@device
def dot_of_three(x: Any, y: Any, z: Any) -> Any:
    """`sum of x y z`."""
    total = x.dtype.type(0)
    for j in range(x.shape[0]):
        total += x[j] * y[j] * z[j]
    return total
