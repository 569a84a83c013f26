"""`feature`: all of it in one kernel; backward in one or two, the convolution made again."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.strides import Rows, as_real, column_sums, real_of, rows_at, variant
from mcore.layers import feature as _plain
from mcore.layers.feature import Filter, Form

MOST_TAPS, MOST_CHANNELS = 8, 256
"""What kernels hold in registers: tokens that the convolution sees, channels of a head."""

WARPS, THREADS = 4, 128
STRETCH = 128
"""Tokens that a thread of the convolution's backward goes through."""

EPS = 1e-6


class Saved(NamedTuple):
    """What `feature` keeps: its arguments; `held` are arrays whose addresses are in `inputs`."""

    form: Form
    inputs: tuple[Any, ...]
    taps: int
    shape: tuple[int, ...]
    like: Array
    held: tuple[Any, ...]

    @property
    def weight(self) -> Array | None:
        """(C, W), or None."""
        found: Array | None = self.inputs[4]
        return found

    @property
    def bias(self) -> Array | None:
        """(C,), or None."""
        found: Array | None = self.inputs[5]
        return found


def feature(
    x: Array, form: Form, taps: Filter | None, bias: Array | None = None, *, device: Device
) -> tuple[Array, Any]:
    """See `mcore.layers.feature.feature`."""
    if _is_plain(x, form, taps, bias):
        return _plain.feature(x, form, taps, bias)
    saved = _kept(device, x, form, taps, bias)
    rows, tokens, channels = x.shape
    y = device.xp.empty((rows, tokens, form.heads, channels // form.heads), x.dtype)
    given = (*saved.inputs, y, *_sizes(saved))
    kernel = device.kernel(variant("feature", x), "feature")
    kernel((_blocks(saved),), (THREADS,), given, 0)
    return y, saved


def feature_backward(
    saved: Any, dy: Array, dx: Array, *, device: Device
) -> tuple[Array | None, Array | None]:
    """See `mcore.layers.feature.feature_backward`."""
    if not isinstance(saved, Saved):
        found: tuple[Array | None, Array | None] = _plain.feature_backward(saved, dy, dx)
        return found
    xp, target = device.xp, rows_at(device, dx)
    if target.held is not dx:
        raise ValueError("feature_backward: dx has no rows at one pitch")
    direct = saved.weight is None
    summed = not direct or saved.bias is not None
    dz = xp.empty(saved.shape, real_of(saved.like)) if summed else None
    into = (target.at, target.pitch) if direct else (None, 0)
    given = (*saved.inputs, xp.ascontiguousarray(dy), dz, *into, *_sizes(saved))
    kernel = device.kernel(variant("feature", saved.like), "feature_backward")
    kernel((_blocks(saved),), (THREADS,), given, 0)
    return (None, None) if dz is None else _sums(device, saved, dz, target)


def _sums(
    device: Device, saved: Saved, dz: Array, target: Rows
) -> tuple[Array | None, Array | None]:
    """Gradients of the filter and the bias; writes that of x if there is a filter."""
    xp, (rows, tokens, channels) = device.xp, saved.shape
    stretches = -(-tokens // STRETCH)
    count = rows * stretches
    filters = None if saved.weight is None else xp.empty((count, channels, saved.taps), dz.dtype)
    biases = None if saved.bias is None else xp.empty((count, channels), dz.dtype)
    seen = (*saved.inputs[:5], saved.inputs[6])
    given = (*seen, dz, target.at, target.pitch, filters, biases, tokens, channels, saved.taps)
    kernel = device.kernel(variant("feature", saved.like), "feature_sums")
    grid = (-(-channels // THREADS), stretches, rows)
    kernel(grid, (THREADS,), (*given, STRETCH), 0)
    d_weight = None if filters is None else column_sums(device, filters).reshape(filters.shape[1:])
    return d_weight, None if biases is None else column_sums(device, biases)


def _kept(device: Device, x: Array, form: Form, taps: Filter | None, bias: Array | None) -> Saved:
    """Arguments as the kernels take them."""
    at, shift = rows_at(device, x), None if bias is None else as_real(bias, x)
    inputs: tuple[Any, ...]
    if taps is None:
        inputs = (at.at, at.pitch, None, 0, None, shift, None)
        return Saved(form, inputs, 1, x.shape, x, (at,))
    tail, weight = rows_at(device, taps.tail), as_real(taps.weight, x)
    reach = None if taps.reach is None else taps.reach.astype(np.int32)
    inputs = (at.at, at.pitch, tail.at, tail.pitch, weight, shift, reach)
    return Saved(form, inputs, taps.weight.shape[1], x.shape, x, (at, tail))


def _sizes(saved: Saved) -> tuple[Any, ...]:
    rows, tokens, channels = saved.shape
    heads, silu, unit, factor = saved.form
    sizes = (rows, tokens, heads, channels // heads, saved.taps)
    return (*sizes, int(silu), int(unit), float(factor), EPS)


def _blocks(saved: Saved) -> int:
    rows, tokens, _ = saved.shape
    return -(-rows * tokens * saved.form.heads // WARPS)


def _is_plain(x: Array, form: Form, taps: Filter | None, bias: Array | None) -> bool:
    """Nothing to do but to look at x otherwise, or more than the kernels hold."""
    idle = taps is None and bias is None and not (form.silu or form.unit) and form.scale == 1.0
    wide = x.shape[2] // form.heads > MOST_CHANNELS
    return idle or wide or (taps is not None and taps.weight.shape[1] > MOST_TAPS)
