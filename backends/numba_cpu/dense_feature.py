"""`feature` in one pass: convolution, SiLU, unit norm and scale while a token is in the cache.

Backward computes all of it again from the columns of the projection. A row of the batch is a task;
it walks its tokens with the last W inputs (backward: and the next W gradients) in rings.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.dense_rows import rows_of
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.layers import feature as _plain
from mcore.layers.feature import Filter, Form


class FeatureInputs(NamedTuple):
    """Columns x (B T rows at a pitch), taps (W, C), tail (B, W - 1, C), and the form."""

    x: Array
    taps: Array
    tail: Array
    pitch: int
    heads: int
    silu: int
    unit: int
    scale: float


class FeatureSaved(NamedTuple):
    """What `feature` keeps: its arguments, and whether there is a filter."""

    x: FeatureInputs
    convolves: bool


class FeatureWork(NamedTuple):
    """Rings (W, C) of inputs and gradients, and rows (C,)."""

    inputs: Array
    gradients: Array
    active: Array
    slope: Array


class FeatureGradients(NamedTuple):
    """dx (B T rows at a pitch), and dtaps (B, W, C)."""

    x: Array
    pitch: int
    taps: Array


def feature(
    x: Array, form: Form, taps: Filter | None, bias: Array | None = None, *, threads: int
) -> tuple[Array, Any]:
    """See `mcore.layers.feature.feature`."""
    from mcore.backends.numba_cpu.dense_feature_kernels import feature_kernel

    idle = taps is None and not form.silu and not form.unit and form.scale == 1.0
    if idle or bias is not None or (taps is not None and taps.reach is not None):
        return _plain.feature(x, form, taps, bias)
    rows, tokens, channels = x.shape
    if taps is None:
        weight, tail = np.ones((1, channels), x.dtype), np.empty((rows, 0, channels), x.dtype)
    else:
        weight, tail = plain(taps.weight.T, x), plain(taps.tail, x)
    flat, pitch = rows_of(x, channels)
    flags = int(form.silu), int(form.unit), float(form.scale)
    given = FeatureInputs(flat, weight, tail, pitch, form.heads, *flags)
    y = np.empty((rows, tokens, channels), x.dtype)
    run(feature_kernel, Tasks(rows, threads), given, feature_work, y)
    return y.reshape(rows, tokens, form.heads, -1), FeatureSaved(given, taps is not None)


def feature_backward(
    saved: Any, dy: Array, dx: Array, *, threads: int
) -> tuple[Array | None, Array | None]:
    """See `mcore.layers.feature.feature_backward`."""
    from mcore.backends.numba_cpu.dense_feature_backward import feature_backward_kernel

    if not isinstance(saved, FeatureSaved):
        return _plain.feature_backward(saved, dy, dx)
    x, (rows, _, channels) = saved.x, dx.shape
    dy = plain(dy, x.x).reshape(dx.shape)
    flat, pitch = rows_of(dx, channels)
    parts = np.empty((rows, *x.taps.shape), dx.dtype)
    out = FeatureGradients(flat, pitch, parts)
    run(feature_backward_kernel, Tasks(rows, threads), x, feature_work, dy, out)
    return (parts.sum(axis=0).T.copy() if saved.convolves else None), None


def feature_work(x: FeatureInputs) -> FeatureWork:
    """For one thread."""
    ring, row = x.taps.shape, x.taps.shape[1]
    active, slope = np.empty(row, x.x.dtype), np.empty(row, x.x.dtype)
    return FeatureWork(np.empty(ring, x.x.dtype), np.empty(ring, x.x.dtype), active, slope)
