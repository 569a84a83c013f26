"""Delta rules as additive memories: the values that a chunk writes are corrections.

With G = K K^T . D below the diagonal and N = V - since . (K S), the corrections X solve

    (I + diag(beta) G) X = diag(beta) N

after which the chunk is additive with values X (the chunkwise form of Yang et al. 2024).
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import add_weighted, copy, row_dot, scale_rows
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.chunk import decayed_pairs
from mcore.backends.numba_cpu.gemm import FULL, LOWER, LOWER_OUT, LOWER_TRANSPOSED, gemm
from mcore.backends.numba_cpu.solve import solve_lower, solve_lower_transposed


@device
def _couple(chunk: Any, scratch: Any) -> None:
    """G in `scratch.coupling`, and diag(beta) G in `scratch.pairs`."""
    decayed_pairs(chunk.k, chunk.k_t, chunk.decay.pairs, scratch.coupling)
    for t in range(chunk.beta.shape[0]):
        scratch.coupling[t, t] = 0
    scale_rows(scratch.coupling, chunk.beta, scratch.pairs)


@device
def correct(chunk: Any, state: Any, fresh: bool, scratch: Any, errors: Any) -> None:
    """Replace v, in place, by the corrections X; `errors` (n, V) receives N."""
    if fresh:
        copy(chunk.v, errors)
    else:
        gemm(chunk.k, state, errors, chunk.decay.since, 0, FULL)
        for t in range(errors.shape[0]):
            for j in range(errors.shape[1]):
                errors[t, j] = chunk.v[t, j] - errors[t, j]
    scale_rows(errors, chunk.beta, chunk.v)
    _couple(chunk, scratch)
    solve_lower(scratch.pairs, chunk.v)


@device
def correct_backward(
    chunk: Any, fresh: bool, errors: Any, d_state: Any, scratch: Any, out: Any
) -> None:
    """From dX in `out.v` to dV; adds to dK, dbeta, dS and the uses of decay.

    Runs after `chunk_backward`, which left X^T in `scratch.v_t` and S^T in `scratch.state_t`.
    """
    _couple(chunk, scratch)
    solve_lower_transposed(scratch.pairs, out.v)
    gemm(out.v, scratch.v_t, scratch.d_pairs, -1.0, 0, LOWER_OUT)
    _split_coupling(chunk, errors, scratch, out)
    gemm(scratch.d_pairs, chunk.k, out.k, 1.0, 1, LOWER)
    gemm(scratch.d_pairs.T, chunk.k, out.k, 1.0, 1, LOWER_TRANSPOSED)
    scale_rows(out.v, chunk.beta, out.v)
    if not fresh:
        _carried_errors_backward(chunk, d_state, scratch, out)


@device
def _split_coupling(chunk: Any, errors: Any, scratch: Any, out: Any) -> None:
    """dbeta, the uses of decay, and the gradient of K K^T in `d_pairs` (zero from the diagonal)."""
    d_pairs, coupling, decay = scratch.d_pairs, scratch.coupling, chunk.decay.pairs
    rows, zero = d_pairs.shape[0], d_pairs.dtype.type(0)
    for t in range(rows):
        d_beta, beta = row_dot(out.v, errors, t), chunk.beta[t]
        for j in range(rows):
            d_pair = d_pairs[t, j] if j < t else zero
            used = d_pair * coupling[t, j]
            d_beta += used
            out.used.pairs[t, j] += beta * used
            d_pairs[t, j] = d_pair * beta * decay[t, j]
        out.beta[t] = d_beta


@device
def _carried_errors_backward(chunk: Any, d_state: Any, scratch: Any, out: Any) -> None:
    """`N = V - since . (K S)` backwards: `dK -= Z S^T`, `dS -= K^T Z` with `Z = since . dN`."""
    since, dots = chunk.decay.since, scratch.coupling[0]
    gemm(out.v, scratch.state_t, scratch.rows, -1.0, 0, FULL)
    add_weighted(scratch.rows, since, chunk.k, dots, out.k)
    for t in range(since.shape[0]):
        out.used.since[t] += since[t] * dots[t]
    scale_rows(out.v, since, scratch.values)
    gemm(chunk.k.T, scratch.values, d_state, -1.0, 1, FULL)
