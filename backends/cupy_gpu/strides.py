"""Arrays as kernels of dense layers take them: rows at one pitch, and the source's types."""

from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.sources import Variant


class Rows(NamedTuple):
    """Dense rows of numbers, one pitch apart.

    Attributes:
        held: whose memory it is.
        at: address of the first number.
        pitch: numbers from one row to the next.
        rows: how many.
    """

    held: Array
    at: np.uint64
    pitch: int
    rows: int


def rows_at(device: Device, x: Array, inner: int = 1) -> Rows:
    """The last `inner` axes as a row, all axes before as rows; a copy where strides forbid it."""
    pitch = _pitch(x, inner)
    if pitch is None:
        x, pitch = device.xp.ascontiguousarray(x), prod(x.shape[-inner:])
    return Rows(x, device.address(x), pitch, prod(x.shape[:-inner]))


def variant(family: str, x: Array) -> Variant:
    """The source for tokens stored as those of `x`; sums are float64 if these are, else float32."""
    return Variant(family, real_of(x), x.dtype.name)


def real_of(x: Array) -> str:
    """Dtype of sums over numbers like those of `x`."""
    return "float64" if x.dtype.name == "float64" else "float32"


def as_real(parameter: Array, x: Array) -> Array:
    """A contiguous parameter in the dtype of sums over `x`: itself if it is so."""
    if parameter.dtype.name == real_of(x) and parameter.flags.c_contiguous:
        return parameter
    return parameter.astype(real_of(x), order="C")


def column_sums(device: Device, parts: Array) -> Array:
    """The sum (columns,) of the rows of a contiguous array (rows, ...), in a fixed order."""
    rows, columns = len(parts), parts[0].size
    if rows == 1:
        whole: Array = parts.reshape(-1)
        return whole
    out: Array = device.xp.empty(columns, parts.dtype)
    kernel = device.kernel(variant("sums", parts), "column_sums")
    kernel((-(-columns // 32),), (256,), (parts, out, rows, columns), 256 * parts.itemsize)
    return out


def _pitch(x: Array, inner: int) -> int | None:
    """Numbers between rows, or None: the rows are not dense, or not at one pitch."""
    step = x.itemsize
    for size, stride in zip(reversed(x.shape[-inner:]), reversed(x.strides[-inner:]), strict=True):
        if size > 1 and stride != step:
            return None
        step *= size
    outer = [(n, s) for n, s in zip(x.shape[:-inner], x.strides[:-inner], strict=True) if n > 1]
    if not outer:
        return prod(x.shape[-inner:])
    for (_, stride), (size, within) in pairwise(outer):
        if stride != size * within:
            return None
    pitch, rest = divmod(outer[-1][1], x.itemsize)
    return None if rest or pitch <= 0 else pitch
