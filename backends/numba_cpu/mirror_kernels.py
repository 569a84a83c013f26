"""Scan of mirror descent, token after token: W is no linear function of the tokens before.

    A_t = a_t A_{t-1} - step_t G_t,   W_t = f(A_t)
    hidden_t = gelu(g_t w_in_t^T q_t + extra_t)        y_t = q_t + g_t w_out_t^T hidden_t

G_t is of rank one in both matrices, and never put together.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gelu_vector import gelu_slope, gelu_value
from mcore.backends.numba_cpu.matvec import descend, times, transposed_times
from mcore.backends.numba_cpu.mirror_image import grow, make_image, measure
from mcore.backends.numba_cpu.mirror_state import load_state, segment_state, store_state
from mcore.backends.numba_cpu.vector_gates import fill


@kernel
def mirror_kernel(span: Any, x: Any, work: Any, out: Any) -> None:
    """out: reads (B, T, H, K), hidden (B, T, H, E) or none, checkpoints (B, S, H, 4 K, E)."""
    reads, hidden, checkpoints = out
    heads = x.q.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        for s in range(x.restart.shape[1]):
            first, last = x.bounds[b, s], x.bounds[b, s + 1]
            if first < last:
                begin_segment(segment_state(x, checkpoints, (b, h, s)), work)
                for t in range(first, last):
                    write_token(x, (b, t, h), 0, work)
                    _read_token(x, (b, t, h), work, reads[b, t, h])
                    if hidden.size:
                        fill(work.vectors.hidden, hidden[b, t, h])
                store_state(work.source, work.image, checkpoints[b, s, h])


@device
def begin_segment(state: Any, work: Any) -> None:
    """A and W as in `state`, which is not measured yet."""
    load_state(state, work.source, work.image)
    measure(work.source, work.image)


@device
def write_token(x: Any, at: Any, slot: int, work: Any) -> None:
    """A and W after the token at (b, t, h); what its descent is made of in `slot` of `kept`."""
    image, kept, vectors = work.image, work.kept, work.vectors
    before, pulled, answer = kept.before[slot], kept.pulled[slot], kept.answer[slot]
    excite(image, x.k[at], before)
    gelu_slope(before, vectors.hidden, vectors.slope)
    reply(image, vectors.hidden, answer)
    find_force(x, at, answer, vectors)
    pull_back(image, vectors.force, vectors.scaled, pulled)
    for e in range(pulled.shape[0]):
        vectors.turn[e] = pulled[e] * vectors.slope[e]
    rates = exp(x.log_decay[at]), x.step[at]
    move(x.k[at], rates, vectors, work.source)
    if x.quartic:
        grow(image, 0, rates, (x.k[at], vectors.turn))
        grow(image, 1, rates, (vectors.force, vectors.hidden))
    make_image(x.quartic, work.source, image)


@device
def excite(image: Any, q: Any, before: Any) -> None:
    """`w_in^T q`."""
    transposed_times(image.weights[0], q, before)
    for e in range(before.shape[0]):
        before[e] *= image.scale_in[e]


@device
def reply(image: Any, hidden: Any, answer: Any) -> None:
    """`w_out^T hidden`."""
    times(image.weights[1], hidden, answer)
    for i in range(answer.shape[0]):
        answer[i] *= image.scale_out[i]


@device
def pull_back(image: Any, force: Any, scaled: Any, pulled: Any) -> None:
    """`w_out force`; `scaled` (K,) is scratch."""
    for i in range(force.shape[0]):
        scaled[i] = image.scale_out[i] * force[i]
    transposed_times(image.weights[1], scaled, pulled)


@device
def find_force(x: Any, at: Any, answer: Any, vectors: Any) -> None:
    """The error `M(k) - v`, and the slope of the inner loss in it: `3 e |e|` of Moneta, else e."""
    k, v = x.k[at], x.v[at]
    for i in range(answer.shape[0]):
        error = k[i] + answer[i] - v[i]
        vectors.error[i] = error
        vectors.force[i] = 3 * error * abs(error) if x.quartic else error


@device
def move(k: Any, rates: Any, vectors: Any, source: Any) -> None:
    """`A = decay A - step G`; rates: (decay, step)."""
    descend(source[0], rates, k, vectors.turn)
    descend(source[1], rates, vectors.force, vectors.hidden)


@device
def excite_query(x: Any, at: Any, image: Any, before: Any) -> Any:
    """`g w_in^T q + extra`; returns g."""
    excite(image, x.q[at], before)
    gate = x.gate[at] if x.gate.size else x.q.dtype.type(1)
    if x.gate.size:
        for e in range(before.shape[0]):
            before[e] *= gate
    if x.extra.size:
        extra = x.extra[at]
        for e in range(before.shape[0]):
            before[e] += extra[e]
    return gate


@device
def _read_token(x: Any, at: Any, work: Any, y: Any) -> None:
    """The answer to the query in `y` (K,), its hidden units in `work.vectors.hidden`."""
    before, hidden, q = work.vectors.slope, work.vectors.hidden, x.q[at]
    gate = excite_query(x, at, work.image, before)
    gelu_value(before, hidden)
    reply(work.image, hidden, y)
    for i in range(y.shape[0]):
        y[i] = q[i] + gate * y[i]
