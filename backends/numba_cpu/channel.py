"""`scan` of memories with a decay per key channel in fast kernels, row by head in parallel."""

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.scan import ScanSaved, flattened, scan_arrays
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs
from mcore.segments import Segments


def scan(
    inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Scan, ScanSaved]:
    """See `mcore.backend.Backend.scan`."""
    from mcore.backends.numba_cpu.channel_kernels import channel_scan_kernel, forward_work

    x = scan_arrays(inputs, carry, segments, normalized=False)
    rows, _, heads, keys = x.q.shape
    reads = np.empty_like(x.v)
    checkpoints = np.zeros((rows, segments.count, heads, keys, x.v.shape[-1]), x.q.dtype)
    tasks = Tasks(rows * heads, threads)
    run(channel_scan_kernel, tasks, x, forward_work, reads, checkpoints)
    return Scan(reads, flattened(checkpoints)), ScanSaved(x, None, checkpoints, carry is not None)


def scan_backward(
    saved: ScanSaved, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    from mcore.backends.numba_cpu.channel_kernels import backward_work, channel_backward_kernel
    from mcore.backends.numba_cpu.scan_work import ScanGradients

    x = saved.x
    gradients = ScanGradients(*(np.empty_like(array) for array in x[:6]))
    d_states = plain(d_checkpoints, x.q).reshape(saved.checkpoints.shape)
    given = (saved.checkpoints, plain(d_reads, x.q), d_states)
    tasks = Tasks(x.q.shape[0] * x.q.shape[2], threads)
    run(channel_backward_kernel, tasks, x, backward_work, given, gradients)
    d_inputs = {name: getattr(gradients, name) for name in ("q", "k", "v", "log_decay")}
    return d_inputs, gradients.carry.reshape(*x.carry.shape[:2], -1) if saved.carried else None
