"""`scan` of vector memories in fast kernels, block of rows by head in parallel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments


class VectorScanSaved(NamedTuple):
    """What `scan` keeps: inputs, what the kernel kept, the shape (B, S, H, n, V), if carried."""

    x: Any
    kept: Any
    shape: tuple[int, ...]
    carried: bool


def scan(
    rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Scan, VectorScanSaved]:
    """See `mcore.backend.Backend.scan`."""
    from mcore.backends.numba_cpu.vector_kernels import vector_kernel
    from mcore.backends.numba_cpu.vector_work import block_count, forward_work, keep

    dims = rule.dims(inputs)
    x = _arrays(rule, inputs, carry, segments)
    kept = keep(x)
    reads = np.empty((dims.B, dims.T, dims.H, dims.V), x.x.dtype)
    shape = (dims.B, segments.count, dims.H, *rule.state_shape(dims))
    checkpoints = np.zeros(shape, x.x.dtype)
    blocks = block_count(dims.B, dims.H)
    tasks = Tasks(blocks * dims.H, threads)
    run(vector_kernel, tasks, x, forward_work, kept, (reads, checkpoints, blocks))
    flat = checkpoints.reshape(*shape[:3], -1)
    return Scan(reads, flat), VectorScanSaved(x, kept, shape, carry is not None)


def scan_backward(
    saved: VectorScanSaved, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    from mcore.backends.numba_cpu.vector_backward_kernels import vector_backward_kernel
    from mcore.backends.numba_cpu.vector_work import backward_work, block_count

    x = saved.x
    blocks = block_count(len(x.x), x.x.shape[2])
    gradients = _gradients(saved, blocks)
    d_states = plain(d_checkpoints, x.x).reshape(saved.shape)
    given = (saved.kept, plain(d_reads, x.x), d_states, blocks)
    tasks = Tasks(blocks * x.x.shape[2], threads)
    run(vector_backward_kernel, tasks, x, backward_work, given, gradients)
    d_inputs = {
        "x": gradients.x,
        "recurrent": _d_recurrent(saved, gradients),
        "q": np.empty((*x.x.shape[:3], 0), x.x.dtype),
    }
    if x.bias.size:
        d_inputs["recurrent_bias"] = gradients.bias.sum(axis=0)
    if not saved.carried:
        return d_inputs, None
    return d_inputs, gradients.carry.reshape(*gradients.carry.shape[:2], -1)


def _gradients(saved: VectorScanSaved, blocks: int) -> Any:
    from mcore.backends.numba_cpu.vector_work import VectorGradients

    x, before = saved.x, saved.kept.before
    return VectorGradients(
        np.empty_like(x.x),
        np.empty(before.shape if x.bias.size else (0, 0, 0, 0), x.x.dtype),
        np.zeros((blocks, *x.bias.shape), x.x.dtype),
        np.empty_like(x.carry),
    )


def _d_recurrent(saved: VectorScanSaved, gradients: Any) -> Array:
    """`dU = sum over rows and tokens of h^T d(h U)`: one large product per head."""
    total: Array = np.empty_like(saved.x.recurrent)
    outer = total.shape[-1] - gradients.inner.shape[-1]
    for h, d_head in enumerate(total):
        before = _head(saved.kept.before, h).T
        np.matmul(before, _head(gradients.x, h)[:, :outer], out=d_head[:, :outer])
        if gradients.inner.size:
            np.matmul(before, _head(gradients.inner, h), out=d_head[:, outer:])
    return total


def _head(x: Array, h: int) -> Array:
    """(B T, .) head h of (B, T, H, .), without a copy."""
    head: Array = x.reshape(-1, *x.shape[2:])[:, h]
    return head


def _arrays(rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments) -> Any:
    from mcore.backends.numba_cpu.vector_work import CODES, VectorInputs

    x = plain(inputs["x"])
    bias = np.empty((0, 0), x.dtype)
    if "recurrent_bias" in inputs:
        bias = plain(inputs["recurrent_bias"], x)
    start = np.empty((0, 0, 0, 0), x.dtype)
    if carry is not None:
        start = np.ascontiguousarray(rule.unflatten(plain(carry, x), 0))
    return VectorInputs(
        CODES[rule.kind],
        x,
        plain(inputs["recurrent"], x),
        bias,
        start,
        plain(segments.bounds),
        plain(segments.restart),
    )
