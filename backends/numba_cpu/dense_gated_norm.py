"""`gated_rms_norm` in one pass over tokens and heads, forward and backward."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.apart import apart
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.dense_norm import no_work
from mcore.backends.numba_cpu.dense_rows import BLOCK, blocks, rows_of
from mcore.backends.numba_cpu.dense_vectors import dot, fill
from mcore.backends.numba_cpu.elementwise import sigmoid
from mcore.backends.numba_cpu.prefetch import AHEAD, prefetch
from mcore.backends.numba_cpu.threads import Tasks, run


class GatedInputs(NamedTuple):
    """y (N, H, V), gate (N rows at a pitch), weight (V,), eps."""

    y: Array
    gate: Array
    weight: Array
    pitch: int
    eps: float


class GatedSaved(NamedTuple):
    """What `gated_rms_norm` keeps: its arguments, and the scale (N, H) of each head."""

    x: GatedInputs
    scale: Array
    shape: tuple[int, ...]


def gated_rms_norm(
    y: Array, gate: Array, weight: Array, eps: float = 1e-6, *, threads: int
) -> tuple[Array, GatedSaved]:
    """See `mcore.layers.gated_norm.gated_rms_norm`."""
    shape, heads, width = y.shape, y.shape[-2], y.shape[-1]
    y = plain(y).reshape(-1, heads, width)
    flat, pitch = rows_of(gate, heads * width, y)
    given = GatedInputs(y, flat, plain(weight, y), pitch, eps)
    out, scale = np.empty_like(y), np.empty(y.shape[:2], y.dtype)
    run(gated_kernel, Tasks(blocks(len(y)), threads), given, no_work, out, scale)
    return out.reshape(shape), GatedSaved(given, scale, shape)


def gated_rms_norm_backward(
    saved: GatedSaved, dy: Array, *, threads: int
) -> tuple[Array, Array, Array]:
    """See `mcore.layers.gated_norm.gated_rms_norm_backward`."""
    x, scale = saved.x, saved.scale
    dy = plain(dy, scale).reshape(x.y.shape)
    d_y, d_gate = np.empty_like(dy), np.empty_like(dy)
    parts = np.empty((blocks(len(dy)), len(x.weight)), dy.dtype)
    given, tasks = (scale, dy), Tasks(len(parts), threads)
    run(gated_backward_kernel, tasks, x, gated_work, given, (d_y, d_gate, parts))
    return d_y.reshape(saved.shape), d_gate.reshape(saved.shape), parts.sum(axis=0)


def gated_work(x: GatedInputs) -> Array:
    """A row for one thread."""
    return np.empty_like(x.weight)


@kernel
def gated_kernel(span: Any, x: Any, work: Any, out: Any, scale: Any) -> None:
    """The output and the scales for a span of blocks."""
    count, heads, width = x.y.shape
    for i in range(span[0] * BLOCK, min(span[1] * BLOCK, count)):
        _fetch_gate(x, i + AHEAD)
        for h in range(heads):
            y, begin = x.y[i, h], i * x.pitch + h * width
            scale[i, h] = 1 / np.sqrt(dot(y, y) / width + x.eps)
            _gated(y, scale[i, h], x.weight, x.gate[begin : begin + width], out[i, h])


@kernel
def gated_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients of y and the gate, and of the weight by block, for a span of blocks."""
    (scale, dy), (d_y, d_gate, parts) = given, out
    count, heads, width = x.y.shape
    for block in range(span[0], span[1]):
        fill(parts[block], 0)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, count)):
            _fetch_gate(x, i + AHEAD)
            for h in range(heads):
                y, begin, r = x.y[i, h], i * x.pitch + h * width, scale[i, h]
                gate = x.gate[begin : begin + width]
                arrays = x.weight, gate, dy[i, h]
                _through_gate(y, r, arrays, (d_gate[i, h], work), parts[block])
                pull = r * dot(work, y) * r * r / width
                _through_norm(y, r, work, scale.dtype.type(pull), d_y[i, h])


@device
def _fetch_gate(x: Any, i: int) -> None:
    """What a row further on will read: the gate's rows are far apart."""
    prefetch(x.gate, i * x.pitch, i * x.pitch + x.y.shape[1] * x.y.shape[2])


@apart
def _gated(y: Any, r: Any, weight: Any, gate: Any, out: Any) -> None:
    """out = r y w silu(gate)."""
    for j in range(out.shape[0]):
        out[j] = r * y[j] * weight[j] * (gate[j] * sigmoid(gate[j]))


@apart
def _through_gate(y: Any, r: Any, arrays: Any, out: Any, d_weight: Any) -> None:
    """dgate = dy n w silu'(gate); d = dy w silu(gate); dw += dy n silu(gate), with n = r y."""
    (weight, gate, dy), (d_gate, d) = arrays, out
    one = gate.dtype.type(1)
    for j in range(dy.shape[0]):
        opened = sigmoid(gate[j])
        active = gate[j] * opened
        product = dy[j] * (r * y[j])
        d_gate[j] = product * weight[j] * (opened + active * (one - opened))
        d_weight[j] += product * active
        d[j] = dy[j] * active * weight[j]


@apart
def _through_norm(y: Any, r: Any, d: Any, pull: Any, d_y: Any) -> None:
    """d_y = r d - pull y."""
    for j in range(d_y.shape[0]):
        d_y[j] = r * d[j] - pull * y[j]
