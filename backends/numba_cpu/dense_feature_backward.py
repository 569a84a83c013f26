"""`feature` backward: all of the forward again, from the columns of the projection."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.apart import apart
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.dense_feature_kernels import EPS, convolved, four, load
from mcore.backends.numba_cpu.dense_vectors import (
    add_product,
    add_to_four,
    fill,
    filter_four,
    multiply,
    scaled_product,
    silu_and_slope,
)
from mcore.backends.numba_cpu.prefetch import AHEAD, prefetch


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
            load(x, b, place, tokens, work.inputs)
        for t in range(tokens - 1, -1, -1):
            load(x, b, t, tokens, work.inputs)
            _fetch(x, b * tokens + t - AHEAD, width - 1, out)
            if t >= AHEAD:
                prefetch(dy[b, t - AHEAD], 0, channels)
            convolved(x, t, work)
            if x.silu:
                silu_and_slope(work.active, work.slope)
            gradient = work.gradients[t % width]
            _unfinished(x, work, dy[b, t], gradient)
            begin = (b * tokens + t) * out.pitch
            _spread(x.taps, t, work.gradients, out.x[begin : begin + channels])
            _collect(gradient, t, work.inputs, out.taps[b])


@device
def _fetch(x: Any, row: int, older: int, out: Any) -> None:
    """What a row further on will read and write."""
    channels = x.taps.shape[1]
    if row >= older:
        prefetch(x.x, (row - older) * x.pitch, (row - older) * x.pitch + channels)
        prefetch(out.x, row * out.pitch, row * out.pitch + channels)


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
        a, b, c, d = four(gradients, t)
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
        add_to_four(gradient, four(inputs, t), d_taps)
        return
    for tap in range(width):
        add_product(gradient, inputs[(t + tap) % width], d_taps[tap])
