"""Checkpoints in fewer bytes: half precision, bfloat16 or 8-bit integers with a scale per row.

Rounding happens once, when a segment ends; gradients pass through it unchanged. The largest error,
relative to a row's largest entry: float32 6e-8, float16 5e-4, bfloat16 4e-3, int8 4e-3.
"""

from typing import NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.cache.policy import CacheDtype
from mcore.picking import largest_of

LARGEST_HALF = 65504.0
LEVELS = 127


class Compact(NamedTuple):
    """Checkpoints as they are stored.

    Attributes:
        codes: (B, C, H, P), bfloat16 as the upper 16 bits of a float32.
        scales: (B, C, H, rows of a state) float32 for int8, else of width 0.
    """

    codes: Array
    scales: Array


def compact(x: Array, dtype: CacheDtype | None, width: int) -> Compact:
    """Store (B, C, H, P) states whose rows are `width` wide; float16 saturates at 65504."""
    none = namespace(x).zeros((*x.shape[:-1], 0), np.float32)
    if dtype == "int8":
        return _integers(x, width)
    if dtype == "bfloat16":
        return Compact(_upper_half(x.astype(np.float32)), none)
    if dtype == "float16":
        return Compact(np.clip(x, -LARGEST_HALF, LARGEST_HALF).astype(np.float16), none)
    return Compact(x if dtype is None else x.astype(np.float32), none)


def expand(stored: Compact, dtype: str) -> Array:
    """What was stored, as numbers of `dtype`."""
    codes, scales = stored
    if codes.dtype == np.uint16:
        wide: Array = (codes.astype(np.uint32) << 16).view(np.float32)
        return _as(wide, dtype)
    if codes.dtype == np.int8:
        width = codes.shape[-1] // max(scales.shape[-1], 1)
        rows = codes.reshape(*scales.shape, width).astype(dtype)
        return _as((rows * scales[..., None]).reshape(codes.shape), dtype)
    return _as(codes, dtype)


def stored_bytes(numbers: int, dtype: CacheDtype | None, width: int, itemsize: int) -> int:
    """Bytes of a state of `numbers` numbers in rows of `width`, computed in `itemsize` bytes."""
    if dtype == "int8":
        return numbers + 4 * (numbers // width)
    sizes = {None: itemsize, "float32": 4, "float16": 2, "bfloat16": 2}
    return sizes[dtype] * numbers


def _as(x: Array, dtype: str) -> Array:
    converted: Array = x.astype(dtype, copy=False)
    return converted


def _upper_half(x: Array) -> Array:
    """Round to nearest, ties to even, and keep the upper 16 bits; NaN stays NaN."""
    bits = namespace(x).ascontiguousarray(x).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    codes: Array = np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)
    return codes


def _integers(x: Array, width: int) -> Compact:
    rows = x.reshape(*x.shape[:-1], x.shape[-1] // width, width)
    largest = largest_of(np.abs(rows))
    scales = (largest / LEVELS).astype(np.float32)
    divisor = np.where(scales > 0, scales, 1).astype(x.dtype)
    codes = np.clip(np.rint(rows / divisor[..., None]), -LEVELS, LEVELS).astype(np.int8)
    return Compact(codes.reshape(x.shape), scales)
