"""`scan` of RWKV-7's memory in fast kernels, row by head in parallel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.scan import flattened, unflattened
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs
from mcore.segments import Segments

NAMES = ("q", "k", "v", "log_decay", "kk", "a")


class RwkvSaved(NamedTuple):
    """What `scan` keeps: inputs, checkpoints (B, S, H, K, V), whether a state came in."""

    x: Any
    checkpoints: Array
    carried: bool


def scan(
    inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Scan, RwkvSaved]:
    """See `mcore.backend.Backend.scan`."""
    from mcore.backends.numba_cpu.rwkv7_kernels import RwkvInputs, forward_work, rwkv7_kernel

    q = plain(inputs["q"])
    rows, _, heads, keys = q.shape
    start = np.empty((0, 0, 0, 0), q.dtype)
    if carry is not None:
        start = unflattened(plain(carry, q), keys)
    arrays = [plain(inputs[name], q) for name in NAMES]
    arrays += [start, plain(segments.bounds), plain(segments.restart)]
    x = RwkvInputs(*arrays)
    reads = np.empty_like(x.v)
    checkpoints = np.zeros((rows, segments.count, heads, keys, x.v.shape[-1]), q.dtype)
    run(rwkv7_kernel, Tasks(rows * heads, threads), x, forward_work, reads, checkpoints)
    return Scan(reads, flattened(checkpoints)), RwkvSaved(x, checkpoints, carry is not None)


def scan_backward(
    saved: RwkvSaved, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    from mcore.backends.numba_cpu.rwkv7_kernels import (
        RwkvGradients,
        backward_work,
        rwkv7_backward_kernel,
    )

    x = saved.x
    gradients = RwkvGradients(*(np.empty_like(array) for array in x[:7]))
    d_states = plain(d_checkpoints, x.q).reshape(saved.checkpoints.shape)
    given = (saved.checkpoints, plain(d_reads, x.q), d_states)
    tasks = Tasks(x.q.shape[0] * x.q.shape[2], threads)
    run(rwkv7_backward_kernel, tasks, x, backward_work, given, gradients)
    d_inputs = dict(zip(NAMES, gradients[:6], strict=True))
    return d_inputs, gradients.carry.reshape(*x.carry.shape[:2], -1) if saved.carried else None
