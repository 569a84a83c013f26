"""`read` of matrix memories in fast kernels, row by head in parallel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Recurrence
from mcore.segments import Segments


class ReadSaved(NamedTuple):
    """What `read` keeps: its inputs."""

    x: Any
    gated: bool


def read(
    rule: Recurrence,
    q: Array,
    checkpoints: Array,
    gates: Array | None,
    segments: Segments,
    threads: int,
) -> tuple[Array, ReadSaved]:
    """See `mcore.backend.Backend.read`."""
    from mcore.backends.numba_cpu.read_kernels import ReadInputs, forward_work, read_kernel

    normalized = bool(getattr(rule, "normalize", False))
    q = plain(q)
    rows, _, heads, keys = q.shape
    states = plain(checkpoints, q).reshape(rows, checkpoints.shape[1], heads, keys, -1)
    weights = np.empty((0, 0, 0, 0), q.dtype) if gates is None else plain(gates, q)
    bounds, first, last = plain(segments.bounds), plain(segments.first), plain(segments.last)
    x = ReadInputs(q, states, weights, bounds, first, last, normalized)
    y = np.empty((*q.shape[:3], states.shape[-1] - normalized), q.dtype)
    run(read_kernel, Tasks(rows * heads, threads), x, forward_work, y)
    return y, ReadSaved(x, gates is not None)


def read_backward(saved: ReadSaved, dy: Array, threads: int) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    from mcore.backends.numba_cpu.read_backward_kernels import read_backward_kernel
    from mcore.backends.numba_cpu.read_kernels import backward_work

    x = saved.x
    out = np.empty_like(x.q), np.zeros_like(x.states), np.zeros_like(x.gates)
    tasks = Tasks(x.q.shape[0] * x.q.shape[2], threads)
    run(read_backward_kernel, tasks, x, backward_work, plain(dy, x.q), out)
    dq, d_states, d_gates = out
    flat = d_states.reshape(*d_states.shape[:3], -1)
    return dq, flat, d_gates if saved.gated else None
