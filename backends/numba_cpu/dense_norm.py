"""`rms_norm` in one pass over the rows; backward in one pass, with a second look at each row."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.apart import apart
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.caching import kernel
from mcore.backends.numba_cpu.dense_rows import BLOCK, blocks, rows_of
from mcore.backends.numba_cpu.dense_vectors import dot, dot_of_three, fill, scaled_product
from mcore.backends.numba_cpu.threads import Tasks, run


class NormInputs(NamedTuple):
    """x (N rows at a pitch), weight (D,), eps, N."""

    x: Array
    weight: Array
    pitch: int
    eps: float
    number: int


class NormSaved(NamedTuple):
    """What `rms_norm` keeps: its arguments, and the scale (N,) of each row."""

    x: NormInputs
    scale: Array
    shape: tuple[int, ...]


def rms_norm(
    x: Array, weight: Array, eps: float = 1e-6, *, threads: int
) -> tuple[Array, NormSaved]:
    """See `mcore.layers.norm.rms_norm`."""
    flat, pitch = rows_of(x, x.shape[-1])
    count = x.size // x.shape[-1]
    given = NormInputs(flat, plain(weight, x), pitch, eps, count)
    y, scale = np.empty((count, x.shape[-1]), x.dtype), np.empty(count, x.dtype)
    run(norm_kernel, Tasks(blocks(count), threads), given, no_work, y, scale)
    return y.reshape(x.shape), NormSaved(given, scale, x.shape)


def rms_norm_backward(
    saved: NormSaved, dy: Array, beside: Array | None = None, *, threads: int
) -> tuple[Array, Array]:
    """See `mcore.layers.norm.rms_norm_backward`."""
    x, scale = saved.x, saved.scale
    dy = plain(dy, scale).reshape(x.number, -1)
    past = dy[:0] if beside is None else plain(beside, scale).reshape(dy.shape)
    dx, parts = np.empty_like(dy), np.empty((blocks(x.number), dy.shape[1]), dy.dtype)
    given, tasks = (scale, dy, past), Tasks(len(parts), threads)
    run(norm_backward_kernel, tasks, x, no_work, given, (dx, parts))
    return dx.reshape(saved.shape), parts.sum(axis=0)


def no_work(x: Any) -> None:
    """None is needed."""


@kernel
def norm_kernel(span: Any, x: Any, work: Any, y: Any, scale: Any) -> None:
    """y and the scales for a span of blocks."""
    width = x.weight.shape[0]
    for i in range(span[0] * BLOCK, min(span[1] * BLOCK, x.number)):
        row = x.x[i * x.pitch : i * x.pitch + width]
        scale[i] = 1 / np.sqrt(dot(row, row) / width + x.eps)
        scaled_product(row, scale[i], x.weight, y[i])


@kernel
def norm_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """dx, and the weight's gradient of each block, for a span of blocks."""
    (scale, dy, beside), (dx, parts), width = given, out, x.weight.shape[0]
    for block in range(span[0], span[1]):
        fill(parts[block], 0)
        for i in range(block * BLOCK, min((block + 1) * BLOCK, x.number)):
            row = x.x[i * x.pitch : i * x.pitch + width]
            r, kind = scale[i], scale.dtype.type
            pull = kind(dot_of_three(row, x.weight, dy[i]) * r * r * r / width)
            if beside.shape[0]:
                _backward_beside(row, (r, pull), (x.weight, dy[i], beside[i]), dx[i], parts[block])
            else:
                _backward(row, (r, pull), (x.weight, dy[i]), dx[i], parts[block])


@apart
def _backward(x: Any, factors: Any, given: Any, dx: Any, d_weight: Any) -> None:
    """dx = r dy w - pull x; dw += r dy x."""
    (r, pull), (weight, dy) = factors, given
    for j in range(x.shape[0]):
        d = r * dy[j]
        dx[j] = d * weight[j] - pull * x[j]
        d_weight[j] += d * x[j]


@apart
def _backward_beside(x: Any, factors: Any, given: Any, dx: Any, d_weight: Any) -> None:
    """`_backward`, with what goes past the norm added to dx."""
    (r, pull), (weight, dy, beside) = factors, given
    for j in range(x.shape[0]):
        d = r * dy[j]
        dx[j] = (d * weight[j] - pull * x[j]) + beside[j]
        d_weight[j] += d * x[j]
