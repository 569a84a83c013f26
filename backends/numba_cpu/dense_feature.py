"""`feature` in one pass: convolution, SiLU, unit norm and scale while a token is in the cache.

Backward computes all of it again from the columns of the projection. A row of the batch is a task;
it walks its tokens with the last W inputs (backward: and the next W gradients) in rings.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.apart import apart
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.dense_rows import rows_of
from mcore.backends.numba_cpu.dense_vectors import (
    add_product,
    add_to_four,
    dot,
    fill,
    filter_four,
    move,
    multiply,
    scaled,
    scaled_product,
    silu,
    silu_and_slope,
)
from mcore.backends.numba_cpu.prefetch import AHEAD, prefetch
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.layers import feature as _plain
from mcore.layers.feature import Filter, Form

EPS = 1e-6


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


@kernel
def feature_kernel(span: Any, x: Any, work: Any, y: Any) -> None:
    """y (B, T, C) for the rows of a span."""
    width = x.taps.shape[0]
    for b in range(span[0], span[1]):
        for place in range(width - 1):
            _load(x, b, place, y.shape[1], work.inputs)
        for t in range(y.shape[1]):
            _load(x, b, t + width - 1, y.shape[1], work.inputs)
            begin = (b * y.shape[1] + t + AHEAD) * x.pitch
            prefetch(x.x, begin, begin + y.shape[2])
            _convolved(x, t, work)
            if x.silu:
                silu(work.active)
            _finished(x, work.active, y[b, t])


@kernel
def feature_backward_kernel(span: Any, x: Any, work: Any, dy: Any, out: Any) -> None:
    """dx, and dtaps of each row of the batch, for the rows of a span."""
    width, tokens, channels = x.taps.shape[0], dy.shape[1], x.taps.shape[1]
    for b in range(span[0], span[1]):
        fill(work.slope, 1)
        for j in range(width):
            fill(work.gradients[j], 0)
            fill(out.taps[b, j], 0)
        for place in range(tokens, tokens + width - 1):
            _load(x, b, place, tokens, work.inputs)
        for t in range(tokens - 1, -1, -1):
            _load(x, b, t, tokens, work.inputs)
            _fetch(x, b * tokens + t - AHEAD, width - 1, out)
            if t >= AHEAD:
                prefetch(dy[b, t - AHEAD], 0, channels)
            _convolved(x, t, work)
            if x.silu:
                silu_and_slope(work.active, work.slope)
            gradient = work.gradients[t % width]
            _unfinished(x, work, dy[b, t], gradient)
            begin = (b * tokens + t) * out.pitch
            _spread(x.taps, t, work.gradients, out.x[begin : begin + channels])
            _collect(gradient, t, work.inputs, out.taps[b])


@device
def _load(x: Any, b: int, place: int, tokens: int, ring: Any) -> None:
    """Put input `place`, counted from the first of the tail, into the ring."""
    width, channels = ring.shape
    target = ring[place % width]
    if place < width - 1:
        move(x.tail[b, place], target)
    else:
        begin = (b * tokens + place - (width - 1)) * x.pitch
        move(x.x[begin : begin + channels], target)


@device
def _fetch(x: Any, row: int, older: int, out: Any) -> None:
    """What a row further on will read and write."""
    channels = x.taps.shape[1]
    if row >= older:
        prefetch(x.x, (row - older) * x.pitch, (row - older) * x.pitch + channels)
        prefetch(out.x, row * out.pitch, row * out.pitch + channels)


@device
def _convolved(x: Any, t: int, work: Any) -> None:
    """active = sum_j taps[j] input[t + j], the newest first, as everywhere."""
    width, inputs = x.taps.shape[0], work.inputs
    if width == 4:
        filter_four(_four(inputs, t), x.taps, work.active)
        return
    multiply(inputs[(t + width - 1) % width], x.taps[width - 1], work.active)
    for tap in range(width - 2, -1, -1):
        add_product(inputs[(t + tap) % width], x.taps[tap], work.active)


@device
def _four(ring: Any, t: int) -> Any:
    """The rows of a ring of four from t on."""
    return ring[t & 3], ring[(t + 1) & 3], ring[(t + 2) & 3], ring[(t + 3) & 3]


@device
def _finished(x: Any, active: Any, y: Any) -> None:
    """y = scale unit(active), head by head."""
    size = active.shape[0] // x.heads
    for h in range(x.heads):
        head = active[h * size : (h + 1) * size]
        factor = x.scale / np.sqrt(dot(head, head) + EPS) if x.unit else x.scale
        scaled(head, active.dtype.type(factor), y[h * size : (h + 1) * size])


@device
def _unfinished(x: Any, work: Any, dy: Any, out: Any) -> None:
    """The gradient before SiLU and `_finished`: s r (dy - r^2 <dy, a> a), times the scale."""
    size, kind = out.shape[0] // x.heads, out.dtype.type
    for h in range(x.heads):
        head, slope = work.active[h * size : (h + 1) * size], work.slope[h * size : (h + 1) * size]
        given, target = dy[h * size : (h + 1) * size], out[h * size : (h + 1) * size]
        if x.unit:
            square, product = _dots(head, given)
            length = square + EPS
            factor = x.scale / np.sqrt(length)
            pull = kind(factor * product / length)
            _through_unit((given, head), kind(factor), pull, slope, target)
        else:
            scaled_product(given, kind(x.scale), slope, target)


@device
def _dots(x: Any, y: Any) -> Any:
    """`<x, x>` and `<x, y>`."""
    square = product = x.dtype.type(0)
    for j in range(x.shape[0]):
        square += x[j] * x[j]
        product += x[j] * y[j]
    return square, product


@apart
def _through_unit(rows: Any, factor: Any, pull: Any, slope: Any, target: Any) -> None:
    """`target = slope (factor dy - pull a)`; rows are dy and a."""
    dy, active = rows
    for j in range(target.shape[0]):
        target[j] = slope[j] * (factor * dy[j] - pull * active[j])


@device
def _spread(taps: Any, t: int, gradients: Any, target: Any) -> None:
    """target = sum_j taps[W - 1 - j] gradient[t + j]."""
    width = taps.shape[0]
    if width == 4:
        a, b, c, d = _four(gradients, t)
        filter_four((d, c, b, a), taps, target)
        return
    multiply(gradients[t % width], taps[width - 1], target)
    for j in range(1, width):
        add_product(gradients[(t + j) % width], taps[width - 1 - j], target)


@device
def _collect(gradient: Any, t: int, inputs: Any, d_taps: Any) -> None:
    """dtaps[j] += gradient input[t + j]."""
    width = inputs.shape[0]
    if width == 4:
        add_to_four(gradient, _four(inputs, t), d_taps)
        return
    for tap in range(width):
        add_product(gradient, inputs[(t + tap) % width], d_taps[tap])
