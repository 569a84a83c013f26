"""Backward of one chunk of an additive memory with a decay per key channel.

With E = lower(dY V^T), dr_tj = E_tj q_t and the notation of `channel_chunk`:

    dQ_t = sum_j E_tj r_tj + since * (dY S^T)_t          dV = A^T dY + (until * K) dS'
    dK_j = sum_t E_tj q_t * (a_{j+1} .. a_t) + until * (V dS'^T)_j
    dS = diag(since_n) dS' + (since * Q)^T dY
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import clear
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.channel_chunk import ChannelChunk, dot, scale_channels
from mcore.backends.numba_cpu.gemm import (
    FULL,
    LOWER_OUT,
    LOWER_TRANSPOSED,
    gemm,
    transpose,
)


class ChannelGradient(NamedTuple):
    """Gradients of a chunk and scratch.

    Attributes:
        q, k, v, log_decay: gradients, as in `ChannelChunk`.
        pairs: (n, n).
        ratios: (n, K) r_tj of one j.
        rows: (n, K).
        whole: (K,) since_n times the gradient of since_n.
        v_t: (V, n).
        state_t: (V, K).
    """

    q: Any
    k: Any
    v: Any
    log_decay: Any
    pairs: Any
    ratios: Any
    rows: Any
    whole: Any
    v_t: Any
    state_t: Any


def make_gradient(chunk: ChannelChunk) -> ChannelGradient:
    """Uninitialised gradients of a chunk."""
    (rows, keys), values, dtype = chunk.q.shape, chunk.v.shape[1], chunk.q.dtype
    shapes: list[tuple[int, ...]] = [(rows, keys)] * 2 + [(rows, values), (rows, keys)]
    shapes += [(rows, rows), (rows, keys), (rows, keys), (keys,), (values, rows), (values, keys)]
    return ChannelGradient(*(np.empty(shape, dtype) for shape in shapes))


@device
def channel_backward(chunk: Any, start: Any, dy: Any, d_state: Any, out: Any) -> None:
    """Gradients of a chunk from `start` = (S, fresh); `d_state` goes from S' to S."""
    state, fresh = start
    transpose(chunk.v, out.v_t)
    gemm(dy, out.v_t, out.pairs, 1.0, 0, LOWER_OUT)
    _pairs_backward(chunk, out)
    gemm(chunk.pairs.T, dy, out.v, 1.0, 0, LOWER_TRANSPOSED)
    gemm(chunk.aged_k, d_state, out.v, 1.0, 1, FULL)
    transpose(d_state, out.state_t)
    gemm(chunk.v, out.state_t, out.rows, 1.0, 0, FULL)
    _earlier(chunk, out)
    if fresh:
        return
    for i in range(state.shape[0]):
        out.whole[i] = chunk.since[-1, i] * dot(state[i], d_state[i])
    transpose(state, out.state_t)
    gemm(dy, out.state_t, out.rows, 1.0, 0, FULL)
    _later(chunk, out)
    scale_channels(chunk, d_state)
    gemm(chunk.aged_q.T, dy, d_state, 1.0, 1, FULL)


@device
def _pairs_backward(chunk: Any, out: Any) -> None:
    """A again, and what it gives to q, k and the decays; for each j, with dA in `out.pairs`,

    z_t = dA_tj q_t + a_{t+1} z_{t+1}      dk_j = z_j      dlog_decay_t += z_t r_tj  (t > j)
    """
    rows = chunk.q.shape[0]
    clear(out.q)
    clear(out.log_decay)
    clear(chunk.pairs)
    for j in range(rows):
        for t in range(j, rows):
            chunk.pairs[t, j] = _ratio_backward(chunk, out, t, j)
        z = out.k[j]
        for i in range(z.shape[0]):
            z[i] = 0
        for t in range(rows - 1, j, -1):
            _gather(chunk, out, (t, j), z)
            for i in range(z.shape[0]):
                out.log_decay[t, i] += z[i] * out.ratios[t, i]
                z[i] *= chunk.decay[t, i]
        _gather(chunk, out, (j, j), z)


@device
def _ratio_backward(chunk: Any, out: Any, t: int, j: int) -> Any:
    """Set r_tj, add its part to dq_t; returns A_tj."""
    weight, total = out.pairs[t, j], chunk.q[t, 0] * 0
    ratio, q, dq = out.ratios[t], chunk.q[t], out.q[t]
    before, decay = (chunk.k[j], chunk.decay[t]) if t == j else (out.ratios[t - 1], chunk.decay[t])
    for i in range(q.shape[0]):
        ratio[i] = before[i] if t == j else before[i] * decay[i]
        total += q[i] * ratio[i]
        dq[i] += weight * ratio[i]
    return total


@device
def _gather(chunk: Any, out: Any, place: Any, z: Any) -> None:
    """`z += dA_tj q_t`."""
    t, j = place
    weight = out.pairs[t, j]
    for i in range(z.shape[0]):
        z[i] += weight * chunk.q[t, i]


@device
def _earlier(chunk: Any, out: Any) -> None:
    """Until's part, from V dS'^T in `rows`: to k, and to the decays after each token."""
    rows, keys = chunk.q.shape
    for i in range(keys):
        out.whole[i] = 0
    for t in range(rows):
        for i in range(keys):
            out.log_decay[t, i] += out.whole[i]
            out.whole[i] += chunk.aged_k[t, i] * out.rows[t, i]
            out.k[t, i] += chunk.until[t, i] * out.rows[t, i]


@device
def _later(chunk: Any, out: Any) -> None:
    """Since's part, from dY S^T in `rows`: to q, and to the decays up to each token."""
    rows, keys = chunk.q.shape
    for t in range(rows - 1, -1, -1):
        for i in range(keys):
            out.whole[i] += chunk.aged_q[t, i] * out.rows[t, i]
            out.log_decay[t, i] += out.whole[i]
            out.q[t, i] += chunk.since[t, i] * out.rows[t, i]
