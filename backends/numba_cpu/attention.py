"""`attention` in fast kernels, row by head in parallel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.threads import Tasks, run


class AttentionSaved(NamedTuple):
    """What `attention` keeps: its inputs, its output and the log-sum of each row."""

    x: Any
    y: Array
    lse: Array


def attention(
    q: Array, k: Array, v: Array, window: int | None, threads: int
) -> tuple[Array, AttentionSaved]:
    """See `mcore.backend.Backend.attention`."""
    from mcore.backends.numba_cpu.attention_kernels import (
        AttentionInputs,
        attention_kernel,
        attention_work,
    )

    q = plain(q)
    reach = k.shape[1] if window is None else window
    x = AttentionInputs(q, plain(k, q), plain(v, q), reach)
    y = np.empty((*q.shape[:3], v.shape[-1]), q.dtype)
    lse = np.empty(q.shape[:3], q.dtype)
    run(attention_kernel, Tasks(q.shape[0] * q.shape[2], threads), x, attention_work, y, lse)
    return y, AttentionSaved(x, y, lse)


def attention_backward(
    saved: AttentionSaved, dy: Array, threads: int
) -> tuple[Array, Array, Array]:
    """See `mcore.backend.Backend.attention_backward`."""
    from mcore.backends.numba_cpu.attention_backward_kernels import (
        attention_backward_kernel,
        attention_backward_work,
    )

    x = saved.x
    out = np.empty_like(x.q), np.empty_like(x.k), np.empty_like(x.v)
    given = (saved.y, saved.lse, plain(dy, x.q))
    tasks = Tasks(x.q.shape[0] * x.q.shape[2], threads)
    run(attention_backward_kernel, tasks, x, attention_backward_work, given, out)
    return out
