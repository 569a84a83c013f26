"""`gated_rms_norm`: a warp per token and head."""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.dense_norm import WARPS, parts_for, shared_for
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.strides import Rows, as_real, column_sums, rows_at, variant


class Saved(NamedTuple):
    """What `gated_rms_norm` keeps: its arguments, and the scale of each row."""

    y: Array
    gate: Rows
    weight: Array
    scale: Array


def gated_rms_norm(
    y: Array, gate: Array, weight: Array, eps: float = 1e-6, *, device: Device
) -> tuple[Array, Saved]:
    """See `mcore.layers.gated_norm.gated_rms_norm`."""
    xp, (_, _, heads, width) = device.xp, y.shape
    y, rows, weight = xp.ascontiguousarray(y), rows_at(device, gate, 2), as_real(weight, y)
    out, scale = xp.empty(y.shape, y.dtype), xp.empty(y.size // width, weight.dtype)
    kernel = device.kernel(variant("norm", y), "gated_rms_norm")
    given = (y, rows.at, rows.pitch, weight, out, scale, scale.size, heads, width, float(eps))
    kernel((-(-scale.size // WARPS),), (32 * WARPS,), given, 0)
    return out, Saved(y, rows, weight, scale)


def gated_rms_norm_backward(
    saved: Saved, dy: Array, *, device: Device
) -> tuple[Array, Array, Array]:
    """See `mcore.layers.gated_norm.gated_rms_norm_backward`."""
    xp, (y, gate, weight, scale) = device.xp, saved
    d_y, d_gate = xp.empty(y.shape, y.dtype), xp.empty(y.shape, y.dtype)
    parts = xp.empty((parts_for(scale.size), weight.size), weight.dtype)
    kernel = device.kernel(variant("norm", y), "gated_rms_norm_backward")
    inputs = (y, gate.at, gate.pitch, weight, scale, xp.ascontiguousarray(dy))
    given = (*inputs, d_y, d_gate, parts, scale.size, y.shape[2], weight.size)
    kernel((len(parts),), (32 * WARPS,), given, shared_for(parts))
    return d_y, d_gate, column_sums(device, parts)
