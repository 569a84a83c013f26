"""One mild chunk of RWKV-7's memory: what is taken away is written too, as negative values.

Token t recalls x_t = S_{t-1}^T kk_t and writes -x_t at kk_t * a_t beside v_t at k_t. With the
notation of `channel_mild`, the chunk has two pairs:

    L_0 = since * Q            R_0 = K / since                U_0 = V
    L_1 = before * KK          R_1 = (KK * A) / since         U_1 = -X

`before` being since of the token before, and what a token recalls is an answer to L_1:

    (I + A_11) U_1 = -(A_10 U_0 + L_1 S)
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import load_rows, store_rows
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.channel_mild import load_factors, load_scaled, mild_pairs
from mcore.backends.numba_cpu.channel_mild_backward import (
    end_backward,
    mild_backward,
    store_log_decay,
    store_scaled,
    written_backward,
)
from mcore.backends.numba_cpu.gemm import FULL, LOWER, gemm
from mcore.backends.numba_cpu.solve import solve_lower, solve_lower_transposed


@device
def load_removing(x: Any, place: Any, chunk: Any) -> None:
    """The tokens at `place` = (b, h, begin, n): L, R and U_0."""
    n = place[3]
    since, removal, removed = chunk.since, chunk.left[1], chunk.right[1]
    load_factors(x.log_decay, place, chunk)
    load_scaled(x.q, place, since, chunk.left[0])
    load_scaled(x.k, place, chunk.inverse, chunk.right[0])
    load_rows(x.v, place, chunk.written[0])
    load_rows(x.kk, place, removal)
    load_scaled(x.a, place, chunk.inverse, removed)
    for t in range(n):
        for i in range(removed.shape[1]):
            removed[t, i] *= removal[t, i]
    for t in range(1, n):
        for i in range(removal.shape[1]):
            removal[t, i] *= since[t - 1, i]


@device
def remove(chunk: Any, state: Any, fresh: bool) -> None:
    """All A, and U_1 from U_0 and the incoming S; `fresh` says that it is zero."""
    mild_pairs(chunk)
    gemm(chunk.pairs[1, 0], chunk.written[0], chunk.written[1], -1.0, 0, LOWER)
    if not fresh:
        gemm(chunk.left[1], state, chunk.written[1], -1.0, 1, FULL)
    solve_lower(chunk.pairs[1, 1], chunk.written[1])


@device
def removing_backward(chunk: Any, course: Any, i: int, fresh: bool, out: Any) -> None:
    """Gradients of chunk i, whose answers have the gradient `chunk.y[0]`.

    `course.d_state` goes from the end of the chunk to its start.
    """
    start, d_state = (course.states[i], fresh), course.d_state
    remove(chunk, *start)
    end_backward(chunk, course.states[i + 1], d_state, out)
    written_backward(chunk, d_state, (1, 1), out)
    solve_lower_transposed(chunk.pairs[1, 1], out.written[1])
    for t in range(chunk.y.shape[1]):
        for j in range(chunk.y.shape[2]):
            chunk.y[1, t, j] = -out.written[1, t, j]
    written_backward(chunk, d_state, (0, 2), out)
    mild_backward(chunk, start, d_state, out)


@device
def store_removing(x: Any, place: Any, chunk: Any, out: Any, gradients: Any) -> None:
    """From dL, dR and dU_0 to the gradients of the inputs at `place` = (b, h, begin, n)."""
    b, h, begin, n = place
    store_scaled(out.left[0], chunk.since, gradients.q, place)
    store_scaled(out.right[0], chunk.inverse, gradients.k, place)
    store_rows(out.written[0], gradients.v, place)
    store_log_decay(chunk, out, gradients.log_decay, place)
    for t in range(n):
        _store_removal(x, (b, begin + t, h), (chunk, out, t), gradients)


@device
def _store_removal(x: Any, at: Any, token: Any, gradients: Any) -> None:
    """Gradients of kk and a of token t of a chunk, which is the one at (b, t, h) of the call."""
    chunk, out, t = token
    kk, strength, d_kk, d_strength = x.kk[at], x.a[at], gradients.kk[at], gradients.a[at]
    d_removed, d_removal = out.right[1, t], out.left[1, t]
    for i in range(kk.shape[0]):
        d_removed[i] *= chunk.inverse[t, i]
        d_strength[i] = kk[i] * d_removed[i]
    if t > 0:
        for i in range(kk.shape[0]):
            d_removal[i] *= chunk.since[t - 1, i]
    for i in range(kk.shape[0]):
        d_kk[i] = d_removal[i] + strength[i] * d_removed[i]
