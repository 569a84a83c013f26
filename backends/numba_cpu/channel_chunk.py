"""One chunk of an additive memory with a decay per key channel, in matrix form.

With n tokens, incoming state S (K, V), factors a_t = exp(log_decay_t) (K,), and

    since_t = a_1 .. a_t      until_j = a_{j+1} .. a_n      r_tj = k_j * a_{j+1} .. a_t

    A_tj = q_t . r_tj  (j <= t)               y = A V + (since * Q) S
    S' = diag(since_n) S + (until * K)^T V

Ratios are running products of factors: nothing is divided, so a decay of e^-40 does no harm. The
pairs inside a chunk take n / 2 passes over K for each token, so chunks are short; mild decays are
better served by `channel_mild`.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import clear, load_rows
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gemm import (
    FULL,
    LOWER,
    gemm,
)


class ChannelChunk(NamedTuple):
    """n tokens and their factors; a short last chunk is filled up with k, v = 0 and a = 1.

    Attributes:
        q, k, v: (n, K), (n, K), (n, V).
        decay, since, until: (n, K) factors.
        aged_q, aged_k: `since * q`, `until * k`.
        pairs: (n, n) A, zero above the diagonal.
    """

    q: Any
    k: Any
    v: Any
    decay: Any
    since: Any
    until: Any
    aged_q: Any
    aged_k: Any
    pairs: Any


def make_chunk(rows: int, keys: int, values: int, dtype: Any) -> ChannelChunk:
    """Uninitialised arrays of a chunk."""
    shapes = [(rows, keys)] * 2 + [(rows, values)] + [(rows, keys)] * 5 + [(rows, rows)]
    return ChannelChunk(*(np.empty(shape, dtype) for shape in shapes))


@device
def load_channel_chunk(x: Any, place: Any, chunk: Any) -> None:
    """The tokens at `place` = (b, h, begin, n), their factors, and q, k aged by them."""
    load_rows(x.q, place, chunk.q)
    load_rows(x.k, place, chunk.k)
    load_rows(x.v, place, chunk.v)
    load_rows(x.log_decay, place, chunk.decay)
    rows, keys = chunk.q.shape
    for t in range(rows):
        for i in range(keys):
            chunk.decay[t, i] = exp(chunk.decay[t, i])
    one = chunk.q.dtype.type(1)
    for i in range(keys):
        chunk.since[0, i] = chunk.decay[0, i]
        chunk.until[rows - 1, i] = one
    for t in range(1, rows):
        for i in range(keys):
            chunk.since[t, i] = chunk.since[t - 1, i] * chunk.decay[t, i]
            chunk.until[rows - 1 - t, i] = chunk.until[rows - t, i] * chunk.decay[rows - t, i]
    for t in range(rows):
        for i in range(keys):
            chunk.aged_q[t, i] = chunk.since[t, i] * chunk.q[t, i]
            chunk.aged_k[t, i] = chunk.until[t, i] * chunk.k[t, i]


@device
def channel_answers(chunk: Any, state: Any, fresh: bool, ratio: Any, y: Any) -> None:
    """`y = A V + (since * Q) S`; `ratio` (K,) is scratch."""
    rows, keys = chunk.q.shape
    clear(chunk.pairs)
    for j in range(rows):
        for i in range(keys):
            ratio[i] = chunk.k[j, i]
        chunk.pairs[j, j] = dot(chunk.q[j], ratio)
        for t in range(j + 1, rows):
            chunk.pairs[t, j] = _age_and_dot(chunk.q[t], chunk.decay[t], ratio)
    gemm(chunk.pairs, chunk.v, y, 1.0, 0, LOWER)
    if not fresh:
        gemm(chunk.aged_q, state, y, 1.0, 1, FULL)


@device
def dot(a: Any, b: Any) -> Any:
    total = a[0] * b[0]
    for i in range(1, a.shape[0]):
        total += a[i] * b[i]
    return total


@device
def _age_and_dot(q: Any, decay: Any, ratio: Any) -> Any:
    """`ratio *= decay`, and its product with q."""
    total = q[0] * 0
    for i in range(q.shape[0]):
        ratio[i] *= decay[i]
        total += q[i] * ratio[i]
    return total


@device
def channel_write(chunk: Any, state: Any) -> None:
    """`S <- diag(since_n) S + (until * K)^T V`."""
    scale_channels(chunk, state)
    gemm(chunk.aged_k.T, chunk.v, state, 1.0, 1, FULL)


@device
def scale_channels(chunk: Any, state: Any) -> None:
    for i in range(state.shape[0]):
        factor = chunk.since[-1, i]
        for j in range(state.shape[1]):
            state[i, j] *= factor
