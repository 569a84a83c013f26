"""Backward of a mild chunk: with D_l the gradient of answers l and G = diag(since_n) dS',

    dA_lr = lower(D_l U_r^T)        dU_r = sum_l A_lr^T D_l + R_r G
    dL_l = sum_r dA_lr R_r + D_l S^T        dR_r = sum_l dA_lr^T L_l + U_r G^T
    dS = G + sum_l L_l^T D_l

and, as L carries since and R is divided by it, the gradient of log_decay_i is the sum over t >= i
of L * dL - R * dR, and the row sums of S' * dS'.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.channel_mild import MildChunk, keep_lower
from mcore.backends.numba_cpu.gemm import (
    FULL,
    LOWER,
    LOWER_OUT,
    LOWER_TRANSPOSED,
    gemm,
    transpose,
)


class MildGradient(NamedTuple):
    """Gradients of a chunk and scratch.

    Attributes:
        left, right: (m, n, K).
        written: (m, n, V).
        pairs: (n, n) of one A.
        uses: (n, K) what the gradients of log_decay are sums of.
        written_t: (m, V, n).
        state_t: (V, K).
        total: (K,) the sum in the gradient of log_decay.
    """

    left: Any
    right: Any
    written: Any
    pairs: Any
    uses: Any
    written_t: Any
    state_t: Any
    total: Any


def make_mild_gradient(chunk: MildChunk) -> MildGradient:
    """Uninitialised gradients of a chunk."""
    (number, rows, keys), values = chunk.left.shape, chunk.written.shape[2]
    shapes: list[tuple[int, ...]] = [(number, rows, keys)] * 2 + [(number, rows, values)]
    shapes += [(rows, rows), (rows, keys), (number, values, rows), (values, keys), (keys,)]
    return MildGradient(*(np.empty(shape, chunk.left.dtype) for shape in shapes))


@device
def end_backward(chunk: Any, end: Any, d_state: Any, out: Any) -> None:
    """`d_state` goes from dS' to G; `total` begins with the row sums of S' * dS'; end = S'."""
    for i in range(end.shape[0]):
        factor, total = chunk.since[-1, i], end[i, 0] * 0
        for j in range(end.shape[1]):
            total += end[i, j] * d_state[i, j]
            d_state[i, j] *= factor
        out.total[i] = total


@device
def written_backward(chunk: Any, d_state: Any, place: Any, out: Any) -> None:
    """dU_r from the first `known` D: `place` = (r, known); `d_state` = G."""
    r, known = place
    for l in range(known):  # noqa: E741
        gemm(chunk.pairs[l, r].T, chunk.y[l], out.written[r], 1.0, l, LOWER_TRANSPOSED)
    gemm(chunk.right[r], d_state, out.written[r], 1.0, 1, FULL)


@device
def mild_backward(chunk: Any, start: Any, d_state: Any, out: Any) -> None:
    """dL and dR from `start` = (S, fresh); `d_state` goes from G to dS."""
    state, fresh = start
    number = chunk.left.shape[0]
    transpose(d_state, out.state_t)
    for r in range(number):
        transpose(chunk.written[r], out.written_t[r])
        gemm(chunk.written[r], out.state_t, out.right[r], 1.0, 0, FULL)
    for l in range(number):  # noqa: E741
        for r in range(number):
            gemm(chunk.y[l], out.written_t[r], out.pairs, 1.0, 0, LOWER_OUT)
            keep_lower(out.pairs, l)
            gemm(out.pairs, chunk.right[r], out.left[l], 1.0, r, LOWER)
            gemm(out.pairs.T, chunk.left[l], out.right[r], 1.0, 1, LOWER_TRANSPOSED)
    if fresh:
        return
    transpose(state, out.state_t)
    for l in range(number):  # noqa: E741
        gemm(chunk.y[l], out.state_t, out.left[l], 1.0, 1, FULL)
        gemm(chunk.left[l].T, chunk.y[l], d_state, 1.0, 1, FULL)


@device
def store_scaled(block: Any, factors: Any, target: Any, place: Any) -> None:
    """`target = factors * block` at `place` = (b, h, begin, n)."""
    b, h, begin, n = place
    for t in range(n):
        for i in range(block.shape[1]):
            target[b, begin + t, h, i] = factors[t, i] * block[t, i]


@device
def store_log_decay(chunk: Any, out: Any, target: Any, place: Any) -> None:
    """The gradient of log_decay at `place` = (b, h, begin, n), from dL, dR and `total`."""
    b, h, begin, n = place
    uses, total = out.uses, out.total
    _use(chunk.left[0], out.left[0], uses)
    _use_up(chunk.right[0], out.right[0], uses, 0, -1)
    if chunk.left.shape[0] > 1:
        _use_up(chunk.right[1], out.right[1], uses, 0, -1)
        _use_up(chunk.left[1], out.left[1], uses, 1, 1)
    for t in range(n - 1, -1, -1):
        for i in range(total.shape[0]):
            total[i] += uses[t, i]
            target[b, begin + t, h, i] = total[i]


@device
def _use(x: Any, dx: Any, uses: Any) -> None:
    """`uses = x * dx`."""
    x, dx, uses = x.reshape(-1), dx.reshape(-1), uses.reshape(-1)
    for i in range(uses.shape[0]):
        uses[i] = x[i] * dx[i]


@device
def _use_up(x: Any, dx: Any, uses: Any, after: int, sign: int) -> None:
    """`uses_t += sign (x * dx)_{t + after}`."""
    factor, skipped = x.dtype.type(sign), after * x.shape[1]
    x, dx, uses = x.reshape(-1)[skipped:], dx.reshape(-1)[skipped:], uses.reshape(-1)
    for i in range(x.shape[0]):
        uses[i] += factor * x[i] * dx[i]


@device
def forget_nothing(d_log_decay: Any) -> None:
    """Exactly 0, not the rounding left of what cancels: there was no memory to decay."""
    for i in range(d_log_decay.shape[0]):
        d_log_decay[i] = 0
