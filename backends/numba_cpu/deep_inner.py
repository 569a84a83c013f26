"""The inner gradients of a block of tokens, all at one perceptron, and their own gradient.

With H = K W_in, A = gelu(H), R the errors (`deep_error`), all with a row per token,

    G_in = k^T down,   down = (R W_out^T) . gelu'(H)        G_out = a^T r

for each token's rows: rank one, so that they are never written out. Backward they are data like any
other; the second order is one term, in gelu''.
"""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.deep_error import DOT, error_backward, set_error
from mcore.backends.numba_cpu.gelu_vector import gelu_curvature, gelu_slope
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose


class Inner(NamedTuple):
    """What the inner gradients of n tokens are made of.

    Attributes:
        value, slope: (n, E) gelu(H), gelu'(H).
        bend: (n, E) gelu''(H) . (R W_out^T), or no elements where no gradient follows.
        down: (n, E).
        value_t, down_t: (E, n); `down_t` as `bend`.
        miss, pull: (n, K) errors before and after clipping.
        length: (n,) of those that were clipped, else 0.
    """

    value: Any
    slope: Any
    bend: Any
    down: Any
    value_t: Any
    down_t: Any
    miss: Any
    pull: Any
    length: Any


@device
def times_transposed(weights: Any, rows: Any, rows_t: Any, out: Any) -> None:
    """`out = W X^T` for weights (K, E), X in `rows` (n, E) and X^T in `rows_t`; out (K, n)."""
    if rows.shape[0] == 1:
        for i in range(weights.shape[0]):
            total = weights[i, 0] * rows[0, 0]
            for j in range(1, weights.shape[1]):
                total += weights[i, j] * rows[0, j]
            out[i, 0] = total
    else:
        gemm(weights, rows_t, out, 1.0, 0, FULL)


@device
def add_transposed(columns: Any, out: Any) -> None:
    """`out += columns^T`."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += columns[j, i]


@device
def inner_gradient(loss: int, weights: Any, tokens: Any, inner: Any, said: Any) -> None:
    """Fill `inner` at weights = (w_in, w_out^T), each (K, E); said (K, n) is scratch."""
    w_in, w_out = weights
    backward = inner.bend.size > 0
    gemm(tokens.k, w_in, inner.down, 1.0, 0, FULL)
    for j in range(inner.down.shape[0]):
        if backward:
            gelu_curvature(inner.down[j], inner.value[j], inner.slope[j], inner.bend[j])
        else:
            gelu_slope(inner.down[j], inner.value[j], inner.slope[j])
    transpose(inner.value, inner.value_t)
    if loss != DOT:
        times_transposed(w_out, inner.value, inner.value_t, said)
    set_error(loss, tokens, said, inner)
    gemm(inner.pull, w_out, inner.down, 1.0, 0, FULL)
    _through_slopes(inner)
    if backward:
        transpose(inner.down, inner.down_t)


@device
def _through_slopes(inner: Any) -> None:
    """`down` holds R W_out^T, `bend` gelu''(H): both get their other factor."""
    for j in range(inner.down.shape[0]):
        if inner.bend.size:
            for e in range(inner.down.shape[1]):
                inner.bend[j, e] *= inner.down[j, e]
        for e in range(inner.down.shape[1]):
            inner.down[j, e] *= inner.slope[j, e]


@device
def inner_backward(loss: int, memory: Any, tokens: Any, inner: Any, scratch: Any, out: Any) -> None:
    """Through `inner_gradient`, from the gradients of down, pull and value in `out`.

    memory: w_in, w_out^T and their gradients, which are added to. Sets out.v and out.delta, adds to
    out.k.
    """
    w_in, w_out, d_in, d_out = memory
    hidden, hidden_t, columns = scratch.hidden, scratch.hidden_t, scratch.columns
    _bend_backward(inner, hidden, out)
    transpose(hidden, hidden_t)
    times_transposed(w_out, hidden, hidden_t, columns)
    add_transposed(columns, out.pull)
    gemm(inner.pull.T, hidden, d_out, 1.0, 1, FULL)
    error_backward(loss, tokens, inner, out)
    if loss != DOT:
        gemm(out.pull, w_out, out.value, 1.0, 1, FULL)
        gemm(out.pull.T, inner.value, d_out, 1.0, 1, FULL)
    _slope_backward(inner, out)
    gemm(tokens.k.T, out.value, d_in, 1.0, 1, FULL)
    transpose(out.value, hidden_t)
    times_transposed(w_in, out.value, hidden_t, columns)
    add_transposed(columns, out.k)


@device
def _bend_backward(inner: Any, hidden: Any, out: Any) -> None:
    """`hidden = d_down . gelu'`, the gradient of R W_out^T; `out.down = d_down . bend`."""
    for j in range(hidden.shape[0]):
        for e in range(hidden.shape[1]):
            hidden[j, e] = out.down[j, e] * inner.slope[j, e]
            out.down[j, e] *= inner.bend[j, e]


@device
def _slope_backward(inner: Any, out: Any) -> None:
    """`out.value` becomes the gradient of H: `d_value . gelu' + d_down . bend`."""
    for j in range(inner.slope.shape[0]):
        for e in range(inner.slope.shape[1]):
            out.value[j, e] = out.value[j, e] * inner.slope[j, e] + out.down[j, e]
