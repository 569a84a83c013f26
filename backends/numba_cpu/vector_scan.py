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
    """What `scan` keeps: inputs, answers, checkpoints (B, S, H, n, V), if carried."""

    x: Any
    reads: Array
    checkpoints: Array
    carried: bool


def scan(
    rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Scan, VectorScanSaved]:
    """See `mcore.backend.Backend.scan`."""
    from mcore.backends.numba_cpu.vector_kernels import vector_kernel
    from mcore.backends.numba_cpu.vector_work import forward_work

    dims = rule.dims(inputs)
    x = _arrays(rule, inputs, carry, segments)
    reads = np.empty((dims.B, dims.T, dims.H, dims.V), x.x.dtype)
    shape = (dims.B, segments.count, dims.H, *rule.state_shape(dims))
    checkpoints = np.zeros(shape, x.x.dtype)
    tasks = Tasks(len(x.blocks) * dims.H, threads)
    run(vector_kernel, tasks, x, forward_work, reads, checkpoints)
    flat = checkpoints.reshape(*shape[:3], -1)
    # Backward needs the answers as they are, whatever the caller does to his.
    return Scan(reads.copy(), flat), VectorScanSaved(x, reads, checkpoints, carry is not None)


def scan_backward(
    saved: VectorScanSaved, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    from mcore.backends.numba_cpu.vector_backward_kernels import vector_backward_kernel
    from mcore.backends.numba_cpu.vector_work import VectorGradients, backward_work

    x = saved.x
    blocks, heads, dtype = len(x.blocks), x.x.shape[2], x.x.dtype
    gradients = VectorGradients(
        np.empty_like(x.x),
        np.zeros((blocks, *x.recurrent.shape), dtype),
        np.zeros((blocks, *x.bias.shape), dtype),
        np.empty_like(x.carry),
    )
    d_states = plain(d_checkpoints, x.x).reshape(saved.checkpoints.shape)
    given = (saved.reads, saved.checkpoints, plain(d_reads, x.x), d_states)
    tasks = Tasks(blocks * heads, threads)
    run(vector_backward_kernel, tasks, x, backward_work, given, gradients)
    d_inputs = {
        "x": gradients.x,
        "recurrent": gradients.recurrent.sum(axis=0),
        "q": np.empty((*x.x.shape[:3], 0), dtype),
    }
    if x.bias.size:
        d_inputs["recurrent_bias"] = gradients.bias.sum(axis=0)
    if not saved.carried:
        return d_inputs, None
    return d_inputs, gradients.carry.reshape(*gradients.carry.shape[:2], -1)


def _arrays(rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments) -> Any:
    from mcore.backends.numba_cpu.vector_work import CODES, VectorInputs, row_blocks

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
        row_blocks(segments),
    )
