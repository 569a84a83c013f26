"""`read` of perceptrons in fast kernels, row by head in parallel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Recurrence
from mcore.segments import Segments


class DeepReadSaved(NamedTuple):
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
) -> tuple[Array, DeepReadSaved]:
    """See `mcore.backend.Backend.read`."""
    from mcore.backends.numba_cpu.deep_read_kernels import DeepReadInputs, deep_read_kernel, work

    q = plain(q)
    states = rule.unflatten(plain(checkpoints, q), q.shape[-1])
    weights = np.empty((0, 0, 0, 0), q.dtype) if gates is None else plain(gates, q)
    bounds, first, last = plain(segments.bounds), plain(segments.first), plain(segments.last)
    x = DeepReadInputs(q, states, weights, bounds, first, last)
    y = np.zeros_like(q)
    run(deep_read_kernel, Tasks(q.shape[0] * q.shape[2], threads), x, work, y)
    return y, DeepReadSaved(x, gates is not None)


def read_backward(
    saved: DeepReadSaved, dy: Array, threads: int
) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    from mcore.backends.numba_cpu.deep_read_backward_kernels import (
        backward_work,
        deep_read_backward_kernel,
    )

    x = saved.x
    dq, d_states, d_gates = (np.zeros(array.shape, array.dtype) for array in x[:3])
    tasks = Tasks(x.q.shape[0] * x.q.shape[2], threads)
    given = plain(dy, x.q)
    run(deep_read_backward_kernel, tasks, x, backward_work, given, (dq, d_states, d_gates))
    flat = d_states.reshape(*d_states.shape[:3], -1)
    return dq, flat, d_gates if saved.gated else None
