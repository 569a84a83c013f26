"""`rms_norm`: a warp per row; backward reads each row twice, and sums up the weight's gradient."""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.strides import Rows, as_real, column_sums, rows_at, variant

WARPS = 4
PARTS = 528
"""Blocks that sum up a gradient, each over its own rows: four for each core of an H100."""


class Saved(NamedTuple):
    """What `rms_norm` keeps: its arguments, and the scale (N,) of each row."""

    x: Rows
    weight: Array
    scale: Array


def rms_norm(x: Array, weight: Array, eps: float = 1e-6, *, device: Device) -> tuple[Array, Saved]:
    """See `mcore.layers.norm.rms_norm`."""
    flat, weight = rows_at(device, x), as_real(weight, x)
    y = device.xp.empty(x.shape, x.dtype)
    scale = device.xp.empty(flat.rows, weight.dtype)
    kernel = device.kernel(variant("norm", x), "rms_norm")
    given = (flat.at, flat.pitch, weight, y, scale, flat.rows, x.shape[-1], float(eps))
    kernel((-(-flat.rows // WARPS),), (32 * WARPS,), given, 0)
    return y, Saved(flat, weight, scale)


def rms_norm_backward(
    saved: Saved, dy: Array, beside: Array | None = None, *, device: Device
) -> tuple[Array, Array]:
    """See `mcore.layers.norm.rms_norm_backward`."""
    xp, (flat, weight, scale) = device.xp, saved
    dy = xp.ascontiguousarray(dy)
    past = None if beside is None else xp.ascontiguousarray(beside)
    dx, width = xp.empty(dy.shape, dy.dtype), weight.size
    parts = xp.empty((parts_for(flat.rows), width), weight.dtype)
    kernel = device.kernel(variant("norm", flat.held), "rms_norm_backward")
    given = (flat.at, flat.pitch, weight, scale, dy, past, dx, parts, flat.rows, width)
    kernel((len(parts),), (32 * WARPS,), given, shared_for(parts))
    return dx, column_sums(device, parts)


def parts_for(rows: int) -> int:
    """How many blocks share so many rows, a warp for each."""
    return max(min(-(-rows // WARPS), PARTS), 1)


def shared_for(parts: Array) -> int:
    """Bytes that a block needs to sum up rows of `parts`."""
    return int(WARPS * parts.shape[1] * parts.itemsize) + 16
