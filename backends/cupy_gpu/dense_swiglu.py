"""`swiglu`: matrix products of the library, and one kernel between them each way."""

from typing import Any

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.strides import real_of, variant
from mcore.layers.linear import rows
from mcore.layers.mlp import Saved
from mcore.layers.product import in_dtype, product

BLOCKS = 2112
"""Blocks of 256 threads that share the numbers: sixteen for each core of an H100."""


def swiglu(
    x: Array, w_gate: Array, w_up: Array, w_down: Array, *, device: Device
) -> tuple[Array, Saved]:
    """See `mcore.layers.mlp.swiglu`."""
    flat, dtype = rows(x), x.dtype.name
    weights = (in_dtype(w_gate, dtype), in_dtype(w_up, dtype), in_dtype(w_down, dtype))
    gate, up = (product(flat, weight, dtype) for weight in weights[:2])
    hidden = device.xp.empty(gate.shape, gate.dtype)
    _launch(device, "swiglu", gate, (gate, up, hidden))
    y = product(hidden, weights[2], dtype)
    return y.reshape(x.shape), Saved(x, gate, up, weights)


def swiglu_backward(
    saved: Saved, dy: Array, *, device: Device
) -> tuple[Array, Array, Array, Array]:
    """See `mcore.layers.mlp.swiglu_backward`."""
    xp, x, dy, (w_gate, w_up, w_down) = device.xp, rows(saved.x), rows(dy), saved.weights
    dtype, real = x.dtype.name, real_of(x)
    d_hidden, gate = product(dy, w_down.T, dtype), saved.gate
    hidden, d_gate, d_up = (xp.empty(gate.shape, gate.dtype) for _ in range(3))
    _launch(device, "swiglu_backward", gate, (gate, saved.up, d_hidden, hidden, d_gate, d_up))
    dx = product(d_gate, w_gate.T, dtype)
    dx += product(d_up, w_up.T, dtype)
    d_in = product(x.T, d_gate, real), product(x.T, d_up, real)
    return dx.reshape(saved.x.shape), *d_in, product(hidden.T, dy, real)


def _launch(device: Device, name: str, like: Array, arrays: tuple[Any, ...]) -> None:
    count, width = like.shape
    blocks = max(min(-(-like.size // 256), BLOCKS), 1)
    kernel = device.kernel(variant("swiglu", like), name)
    kernel((blocks,), (256,), (*arrays, count, width), 0)
