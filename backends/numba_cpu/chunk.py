"""One chunk of an additive memory in matrix form, forward and backward.

With n tokens, incoming state S (K, V), decay factors D, since, until (see `decay`) and values V
(for delta rules the corrections):

    A = Q K^T . D        y = A V + since . (Q S)        S' = since_end S + (until . K)^T V

`fresh` says that S is zero, so that products with it are left out.
"""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.blocks import add_weighted, fill, scale, scale_rows
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.gemm import (
    FULL,
    LOWER,
    LOWER_OUT,
    LOWER_TRANSPOSED,
    gemm,
    transpose,
)


class Chunk(NamedTuple):
    """n tokens: q, k (n, K), k_t (K, n), v (n, V); beta, log_decay (n,); the decay factors.

    A short last chunk is filled up with zeros, which write nothing and decay nothing.
    """

    q: Any
    k: Any
    k_t: Any
    v: Any
    beta: Any
    log_decay: Any
    decay: Any


class ChunkGradient(NamedTuple):
    """Gradients with respect to q, k, v, beta, log_decay; and where the decay factors were used."""

    q: Any
    k: Any
    v: Any
    beta: Any
    log_decay: Any
    used: Any


class Scratch(NamedTuple):
    """Work arrays of a chunk.

    Attributes:
        pairs, d_pairs, coupling: (n, n).
        rows, scaled: (n, K).
        values: (n, V).
        v_t: (V, n).
        state_t: (V, K).
        sums: (n,) float64.
    """

    pairs: Any
    d_pairs: Any
    coupling: Any
    rows: Any
    scaled: Any
    values: Any
    v_t: Any
    state_t: Any
    sums: Any


@device
def decayed_pairs(x: Any, y_t: Any, decay: Any, out: Any) -> None:
    """`out = (X Y^T) . D`, zero above the diagonal."""
    gemm(x, y_t, out, 1.0, 0, LOWER_OUT)
    rows = out.shape[0]
    zero = out.dtype.type(0)
    # Whole rows and a select: loops over j <= t are too short to fill vectors.
    for t in range(rows):
        for j in range(rows):
            out[t, j] = out[t, j] * decay[t, j] if j <= t else zero


@device
def chunk_answers(chunk: Any, state: Any, apart: bool, scratch: Any, y: Any) -> None:
    """`y = (Q K^T . D) V + since . (Q S)`; unless S is read `apart`, without the second part."""
    decayed_pairs(chunk.q, chunk.k_t, chunk.decay.pairs, scratch.pairs)
    gemm(scratch.pairs, chunk.v, y, 1.0, 0, LOWER)
    if apart:
        gemm(chunk.q, state, y, chunk.decay.since, 1, FULL)


@device
def chunk_write(chunk: Any, state: Any, scratch: Any) -> None:
    """`S <- since_end S + (until . K)^T V`."""
    scale_rows(chunk.k, chunk.decay.until, scratch.scaled)
    scale(state, chunk.decay.since[-1])
    gemm(scratch.scaled.T, chunk.v, state, 1.0, 1, FULL)


@device
def chunk_backward(chunk: Any, start: Any, dy: Any, d_state: Any, scratch: Any, out: Any) -> Any:
    """Gradients of a chunk from `start` = (S, fresh, apart); `d_state` goes from S' to S.

    Unless S is read `apart`, y had no part `since . (Q S)`, and `used.since` is left to the caller.

    Returns since_end <S, dS'>. Leaves S^T, unless it is zero, in `scratch.state_t` and V^T in
    `scratch.v_t`.
    """
    state, fresh, apart = start
    _inside_backward(chunk, dy, scratch, out)
    _write_backward(chunk, d_state, scratch, out)
    whole = dy[0, 0] * 0
    if fresh:
        fill(out.used.since, 0)
    else:
        for i in range(state.shape[0]):
            for j in range(state.shape[1]):
                whole += state[i, j] * d_state[i, j]
        transpose(state, scratch.state_t)
        scale(d_state, chunk.decay.since[-1])
        if apart:
            _carry_backward(chunk, dy, d_state, scratch, out)
    return whole * chunk.decay.since[-1]


@device
def _inside_backward(chunk: Any, dy: Any, scratch: Any, out: Any) -> None:
    """`dV = A^T dY`, `dQ = E K`, `dK = E^T Q` with `E = dY V^T . D`."""
    pairs, d_pairs = scratch.pairs, scratch.d_pairs
    transpose(chunk.v, scratch.v_t)
    gemm(chunk.q, chunk.k_t, pairs, 1.0, 0, LOWER_OUT)
    gemm(dy, scratch.v_t, d_pairs, 1.0, 0, LOWER_OUT)
    _split_pairs(chunk.decay.pairs, pairs, d_pairs, out.used.pairs)
    gemm(pairs.T, dy, out.v, 1.0, 0, LOWER_TRANSPOSED)
    gemm(d_pairs, chunk.k, out.q, 1.0, 0, LOWER)
    gemm(d_pairs.T, chunk.q, out.k, 1.0, 0, LOWER_TRANSPOSED)


@device
def _split_pairs(decay: Any, pairs: Any, d_pairs: Any, used: Any) -> None:
    """From Q K^T and dY V^T: both decayed, and their decayed product; zeros above the diagonal."""
    rows, zero = pairs.shape[0], pairs.dtype.type(0)
    for t in range(rows):
        for j in range(rows):
            decayed = pairs[t, j] * decay[t, j] if j <= t else zero
            d_pair = d_pairs[t, j] if j <= t else zero
            used[t, j] = decayed * d_pair
            pairs[t, j] = decayed
            d_pairs[t, j] = d_pair * decay[t, j]


@device
def _write_backward(chunk: Any, d_state: Any, scratch: Any, out: Any) -> None:
    """`dK += until . (V dS'^T)`, `dV += until . (K dS')`."""
    until, used = chunk.decay.until, out.used.until
    transpose(d_state, scratch.state_t)
    gemm(chunk.v, scratch.state_t, scratch.rows, 1.0, 0, FULL)
    add_weighted(scratch.rows, until, chunk.k, used, out.k)
    gemm(chunk.k, d_state, out.v, until, 1, FULL)
    for j in range(until.shape[0]):
        used[j] *= until[j]


@device
def _carry_backward(chunk: Any, dy: Any, d_state: Any, scratch: Any, out: Any) -> None:
    """`dQ += since . (dY S^T)`, `dS += (since . Q)^T dY`; state_t holds S^T."""
    since, used = chunk.decay.since, out.used.since
    gemm(dy, scratch.state_t, scratch.rows, 1.0, 0, FULL)
    add_weighted(scratch.rows, since, chunk.q, used, out.q)
    scale_rows(chunk.q, since, scratch.scaled)
    gemm(scratch.scaled.T, dy, d_state, 1.0, 1, FULL)
    for t in range(since.shape[0]):
        used[t] *= since[t]
