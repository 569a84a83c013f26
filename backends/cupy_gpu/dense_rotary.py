"""`rotary`: one kernel each way; angles in double, made where they are used."""

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.strides import variant
from mcore.layers.rope import BASE
from mcore.placing import sent

THREADS = 128

Saved = int | Array
"""Where the rows begin: a number for all, or (B,) int64 on the device."""


def rotary(x: Array, start: int | Array, *, device: Device) -> tuple[Array, Saved]:
    """See `mcore.layers.rope.rotary`."""
    if isinstance(start, int) and start >= 2**31:
        start = np.full(len(x), start)
    begin = start if isinstance(start, int) else sent(x, start.astype(np.int64))
    return _turned(x, begin, 1, device), begin


def rotary_backward(saved: Saved, dy: Array, *, device: Device) -> Array:
    """See `mcore.layers.rope.rotary_backward`."""
    return _turned(dy, saved, -1, device)


def _turned(x: Array, start: Saved, sense: int, device: Device) -> Array:
    x = device.xp.ascontiguousarray(x)
    y: Array = device.xp.empty(x.shape, x.dtype)
    starts = (None, start) if isinstance(start, int) else (start, 0)
    rows, tokens, heads, width = x.shape
    given = (x, y, *starts, sense, tokens, heads, width, BASE)
    device.kernel(variant("rotary", x), "rotary")((rows * tokens,), (THREADS,), given, 0)
    return y
