"""`feature` forward: a token walks through filter, SiLU and unit norm while it is in the cache."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.dense_vectors import (
    add_product,
    dot,
    filter_four,
    move,
    multiply,
    scaled,
    silu,
)
from mcore.backends.numba_cpu.prefetch import AHEAD, prefetch

EPS = 1e-6


@kernel
def feature_kernel(span: Any, x: Any, work: Any, y: Any) -> None:
    """y (B, T, C) for the rows of a span."""
    width = x.taps.shape[0]
    for b in range(span[0], span[1]):
        for place in range(width - 1):
            load(x, b, place, y.shape[1], work.inputs)
        for t in range(y.shape[1]):
            load(x, b, t + width - 1, y.shape[1], work.inputs)
            begin = (b * y.shape[1] + t + AHEAD) * x.pitch
            prefetch(x.x, begin, begin + y.shape[2])
            convolved(x, t, work)
            if x.silu:
                silu(work.active)
            _finished(x, work.active, y[b, t])


@device
def load(x: Any, b: int, place: int, tokens: int, ring: Any) -> None:
    """Put input `place`, counted from the first of the tail, into the ring."""
    width, channels = ring.shape
    target = ring[place % width]
    if place < width - 1:
        move(x.tail[b, place], target)
    else:
        begin = (b * tokens + place - (width - 1)) * x.pitch
        move(x.x[begin : begin + channels], target)


@device
def convolved(x: Any, t: int, work: Any) -> None:
    """active = sum_j taps[j] input[t + j], the newest first, as everywhere."""
    width, inputs = x.taps.shape[0], work.inputs
    if width == 4:
        filter_four(four(inputs, t), x.taps, work.active)
        return
    multiply(inputs[(t + width - 1) % width], x.taps[width - 1], work.active)
    for tap in range(width - 2, -1, -1):
        add_product(inputs[(t + tap) % width], x.taps[tap], work.active)


@device
def four(ring: Any, t: int) -> Any:
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
