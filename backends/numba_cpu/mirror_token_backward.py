"""Backward of one token of mirror descent, in three parts: its read, its move, its descent.

With `dW = d_weights` and `dA = d_source`, `k d^T` and `r z^T` the two halves of G:

    read      dh = gelu'(h) (g w_out dy + d_hidden)      dq = dy + g w_in dh
              dw_in += g q dh^T      dw_out += g z dy^T
    move      dstep = -<dA, G>    dlog_decay = a <dA, A>    dG = -step dA     dA <- a dA
    descent   back through G at the W before, as in `MlpMemory.descent_backward`
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gelu_vector import gelu_slope
from mcore.backends.numba_cpu.matvec import add_outer, descend_backward, set_outer, times
from mcore.backends.numba_cpu.mirror_kernels import excite_query, pull_back, reply
from mcore.backends.numba_cpu.vector_gates import fill


@device
def read_backward(x: Any, at: Any, work: Any, given: Any, out: Any) -> None:
    """Add a read's part to dW; write the gradients of q, gate and extra."""
    image, vectors, dy, q = work.image, work.vectors, given[0][at], x.q[at]
    before, hidden, slope = work.d_before, vectors.hidden, vectors.slope
    gate = excite_query(x, at, image, before)
    gelu_slope(before, hidden, slope)
    pull_back(image, dy, vectors.scaled, work.d_pulled)
    if x.gate.size:
        out[5][at] = _dot(work.d_pulled, hidden)
    for e in range(before.shape[0]):
        before[e] = slope[e] * gate * work.d_pulled[e]
    if given[1].size:
        d_hidden = given[1][at]
        for e in range(before.shape[0]):
            before[e] += slope[e] * d_hidden[e]
    if x.extra.size:
        fill(before, out[6][at])
    dq = out[0][at]
    _excite_backward(image, before, work.scratch, dq)
    if x.gate.size:
        out[5][at] += _dot(dq, q)
    for i in range(q.shape[0]):
        dq[i] = dy[i] + gate * dq[i]
        work.d_left[i], work.d_answer[i] = gate * q[i], gate * dy[i]
    add_outer(work.d_left, before, work.d_weights[0])
    add_outer(work.d_answer, hidden, work.d_weights[1])


@device
def move_backward(x: Any, at: Any, before: Any, work: Any, out: Any) -> None:
    """dA from after the token to before it; of G its products with the vectors it is made of."""
    vectors, d_source = work.vectors, work.d_source
    decay = exp(x.log_decay[at])
    first = (x.k[at], vectors.turn), (work.d_left, work.d_before)
    second = (vectors.force, vectors.hidden), (work.d_answer, work.d_hidden)
    along = descend_backward(d_source[0], before[0], decay, first)
    along += descend_backward(d_source[1], before[1], decay, second)
    out[4][at] = decay * along
    out[3][at] = -_dot(work.d_before, vectors.turn) - _dot(work.d_hidden, vectors.hidden)


@device
def descent_backward(x: Any, at: Any, pulled: Any, work: Any, out: Any) -> None:
    """From dA's products with the vectors of G: dW, dk and dv."""
    vectors, image, step, k = work.vectors, work.image, x.step[at], x.k[at]
    d_turn, d_pulled, d_before = work.d_before, work.d_pulled, work.d_hidden
    for e in range(d_turn.shape[0]):
        d_turn[e] *= -step
        d_pulled[e] = d_turn[e] * vectors.slope[e]
    dk, d_answer = out[1][at], work.d_answer
    reply(image, d_pulled, dk)
    for i in range(dk.shape[0]):
        d_answer[i] = dk[i] - step * d_answer[i]
        if x.quartic:
            d_answer[i] *= 6 * abs(vectors.error[i])
        out[2][at][i] = -d_answer[i]
    set_outer(vectors.force, d_pulled, work.d_weights[1])
    add_outer(d_answer, vectors.hidden, work.d_weights[1])
    pull_back(image, d_answer, vectors.scaled, work.scratch)
    for e in range(d_turn.shape[0]):
        value = work.scratch[e] - step * d_before[e]
        d_before[e] = d_turn[e] * pulled[e] * vectors.curvature[e] + value * vectors.slope[e]
    _excite_backward(image, d_before, work.scratch, dk)
    for i in range(dk.shape[0]):
        dk[i] += d_answer[i] - step * work.d_left[i]
    set_outer(k, d_before, work.d_weights[0])


@device
def _excite_backward(image: Any, d_before: Any, scratch: Any, dq: Any) -> None:
    """`w_in d_before`."""
    for e in range(d_before.shape[0]):
        scratch[e] = image.scale_in[e] * d_before[e]
    times(image.weights[0], scratch, dq)


@device
def _dot(x: Any, y: Any) -> Any:
    total = x.dtype.type(0)
    for e in range(x.shape[0]):
        total += x[e] * y[e]
    return total
