"""Cached reads whose answers are divided: what becomes of the gates, so that a plain read is left.

    y_t = sum_i g_ti M_i^T q_t / d_ti = sum_i w_ti M_i^T q_t
    d_ti = max(|n_i . q_t|, floor_i) + eps

No denominator needs the memory's values, so all of a block of tokens come from one matrix product
of queries and normalisers. Without floors a denominator is n_i . q_t + eps.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.segments import Segments


class QuotientSaved(NamedTuple):
    """What `weights` keeps: its inputs, its output, and whether there were gates."""

    x: Any
    weights: Array
    gated: bool


def weights(
    q: Array,
    denominators: tuple[Array, Array | None],
    gates: Array | None,
    segments: Segments,
    threads: int,
) -> tuple[Array, QuotientSaved]:
    """w (B, T, H, C); denominators: normalisers (B, C, H, K) and floors (B, C, H)."""
    from mcore.backends.numba_cpu.quotient_kernels import (
        QuotientInputs,
        quotient_kernel,
        quotient_work,
    )

    normalizers, floors = (x if x is None else plain(x, q) for x in denominators)
    none = np.empty((0, 0, 0), q.dtype)
    x = QuotientInputs(
        plain(q), normalizers, none if floors is None else floors,
        none[..., None] if gates is None else plain(gates, q),
        plain(segments.bounds), plain(segments.first), plain(segments.last),
    )  # fmt: skip
    rows, tokens, heads, _ = q.shape
    found = np.zeros((rows, tokens, heads, x.normalizers.shape[1]), q.dtype)
    run(quotient_kernel, Tasks(rows * heads, threads), x, quotient_work, found)
    return found, QuotientSaved(x, found, gates is not None)


def weights_backward(
    saved: QuotientSaved, d_weights: Array, dq: Array, threads: int
) -> tuple[Array, Array | None, Array]:
    """Gradients of the normalisers, the gates and the floors; adds to `dq`."""
    from mcore.backends.numba_cpu.quotient_backward_kernels import quotient_backward_kernel
    from mcore.backends.numba_cpu.quotient_kernels import QuotientGradients, quotient_work

    x = saved.x
    out = QuotientGradients(
        dq, np.empty_like(x.normalizers), np.zeros_like(x.gates), np.empty_like(x.floors)
    )
    given = (saved.weights, plain(d_weights, x.q))
    tasks = Tasks(x.q.shape[0] * x.q.shape[2], threads)
    run(quotient_backward_kernel, tasks, x, quotient_work, given, out)
    return out.normalizers, out.gates if saved.gated else None, out.floors
