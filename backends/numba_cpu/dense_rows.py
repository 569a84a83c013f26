"""Arrays as rows of numbers at a fixed pitch: what kernels of dense layers work on.

Columns of a wider array are not contiguous, and loops over an array of unknown strides do not
vectorise. But the stretch of memory from their first number to their last is contiguous: kernels
get that stretch, and cut a row out of it where `row * pitch` says.
"""

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mcore.arrays import Array

BLOCK = 128
"""Rows of a task. Sums over rows are formed per block, so no number of threads changes them."""


class Rows(NamedTuple):
    """Row i is `flat[i * pitch : i * pitch + width]`.

    Attributes:
        flat: (pitch (count - 1) + width,).
    """

    flat: Array
    pitch: int


def rows_of(x: Array, width: int, like: Array | None = None) -> Rows:
    """x (..., width in all) in the type of `like`; where it lies, if its rows lie evenly."""
    flat = x if like is None else np.asarray(x, like.dtype)
    table = flat.reshape(-1, width)
    count, size = len(table), table.itemsize
    pitch, rest = divmod(table.strides[0], size) if count > 1 else (width, 0)
    even = rest == 0 and pitch >= width and (width == 1 or table.strides[1] == size)
    if not (even and table.flags.aligned and table.flags.writeable):
        table, pitch = np.array(table, order="C"), width
    if pitch == width:
        return Rows(table.reshape(-1), width)
    return Rows(as_strided(table, (pitch * (count - 1) + width,), (size,)), pitch)


def blocks(rows: int) -> int:
    """Number of tasks that so many rows are."""
    return -(-rows // BLOCK)
