"""`read` of matrix memories in fast kernels, row by head in parallel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Recurrence
from mcore.recurrence.linear import Linear
from mcore.segments import Segments

UNDIVIDED = Linear()
"""The rule whose answers are `S^T q`."""


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
    from mcore.backends.numba_cpu.read_kernels import forward_work, read_kernel

    normalized = bool(getattr(rule, "normalize", False))
    x = _read_inputs(q, checkpoints, gates, segments)._replace(normalized=normalized)
    y = np.empty((*x.q.shape[:3], x.states.shape[-1] - normalized), x.q.dtype)
    run(read_kernel, Tasks(x.q.shape[0] * x.q.shape[2], threads), x, forward_work, y)
    return y, ReadSaved(x, gates is not None)


def linear_read(
    q: Array, checkpoints: Array, gates: Array | None, segments: Segments, threads: int
) -> tuple[Array, ReadSaved]:
    """`read` of any memory that answers `S^T q`."""
    return read(UNDIVIDED, q, checkpoints, gates, segments, threads)


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


def _read_inputs(q: Array, checkpoints: Array, gates: Array | None, segments: Segments) -> Any:
    """What read kernels work on, for answers that are not divided."""
    from mcore.backends.numba_cpu.read_kernels import ReadInputs

    q = plain(q)
    rows, _, heads, keys = q.shape
    states = plain(checkpoints, q).reshape(rows, checkpoints.shape[1], heads, keys, -1)
    weights = np.empty((0, 0, 0, 0), q.dtype) if gates is None else plain(gates, q)
    bounds, first, last = plain(segments.bounds), plain(segments.first), plain(segments.last)
    return ReadInputs(q, states, weights, bounds, first, last, False)
