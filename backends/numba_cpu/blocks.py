"""Moving blocks of rows between the (B, T, H, .) arrays and contiguous work arrays."""

from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.prefetch import prefetch_row

ROWS = 64
"""Most tokens that are worked on at once. Near the head width is best: the quadratic part inside
a block grows with it, the number of passes over the state shrinks."""

AHEAD = 16
"""Rows between the one that is copied and the one that is asked for."""

_PLAIN = 0x501
"""Flags of an array that is contiguous, aligned and writeable; asking NumPy for it takes longer."""


def plain(x: Array, like: Array | None = None) -> Array:
    """`x` contiguous, aligned, writeable, in the type of `like`: one compiled kernel serves all."""
    dtype = x.dtype if like is None else like.dtype
    if x.dtype == dtype and x.flags.num & _PLAIN == _PLAIN:
        return x
    return np.require(x, dtype, ["C", "A", "W"])


@device
def load_rows(source: Any, place: Any, block: Any) -> None:
    """`block[i] = source[b, begin + i, h]` for i < n, zeros below; `place` is (b, h, begin, n)."""
    b, h, begin, n = place
    for i in range(n):
        prefetch_row(source[b, min(begin + i + AHEAD, source.shape[1] - 1), h])
        for j in range(block.shape[1]):
            block[i, j] = source[b, begin + i, h, j]
    for i in range(n, block.shape[0]):
        for j in range(block.shape[1]):
            block[i, j] = 0


@device
def store_rows(block: Any, target: Any, place: Any) -> None:
    """`target[b, begin + i, h] = block[i]` for i < n; `place` is (b, h, begin, n)."""
    b, h, begin, n = place
    for i in range(n):
        for j in range(block.shape[1]):
            target[b, begin + i, h, j] = block[i, j]


@device
def load_scalars(source: Any, place: Any, block: Any) -> None:
    """`load_rows` for one number per token."""
    b, h, begin, n = place
    for i in range(n):
        block[i] = source[b, begin + i, h]
    for i in range(n, block.shape[0]):
        block[i] = 0


@device
def store_scalars(block: Any, target: Any, place: Any) -> None:
    """`store_rows` for one number per token."""
    b, h, begin, n = place
    for i in range(n):
        target[b, begin + i, h] = block[i]


@device
def fill(vector: Any, value: Any) -> None:
    """`vector = value`. A slice assigned to takes ten times as long."""
    for i in range(vector.shape[0]):
        vector[i] = value


@device
def copy_vector(source: Any, target: Any) -> None:
    """`target = source`."""
    for i in range(source.shape[0]):
        target[i] = source[i]


@device
def clear(block: Any) -> None:
    """`block = 0`."""
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            block[i, j] = 0


@device
def copy(source: Any, target: Any) -> None:
    """`target = source`."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@device
def add(source: Any, target: Any) -> None:
    """`target += source`."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] += source[i, j]


@device
def scale(block: Any, factor: Any) -> None:
    """`block *= factor`."""
    for i in range(block.shape[0]):
        for j in range(block.shape[1]):
            block[i, j] *= factor


@device
def scale_rows(source: Any, weights: Any, target: Any) -> None:
    """`target = diag(weights) source`."""
    for i in range(source.shape[0]):
        weight = weights[i]
        for j in range(source.shape[1]):
            target[i, j] = weight * source[i, j]


@device
def row_dot(x: Any, y: Any, i: int) -> Any:
    """`<x_i, y_i>`."""
    total = x[i, 0] * y[i, 0]
    for j in range(1, x.shape[1]):
        total += x[i, j] * y[i, j]
    return total


@device
def add_weighted(x: Any, weights: Any, y: Any, dots: Any, target: Any) -> None:
    """`target += diag(weights) x` and `dots_i = <x_i, y_i>`."""
    for i in range(x.shape[0]):
        weight, total = weights[i], x[i, 0] * 0
        for j in range(x.shape[1]):
            total += x[i, j] * y[i, j]
            target[i, j] += weight * x[i, j]
        dots[i] = total
