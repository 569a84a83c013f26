"""One token of an sLSTM, for all rows of a block at once: state h, c, n and m.

Planes that forward keeps: i' f' tanh(z) sigmoid(o); sigmoid(-f), the slope of log sigmoid(f); and
c and n before the token.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp, log_sigmoid, sigmoid
from mcore.backends.numba_cpu.vector_gates import (
    fill,
    four,
    plane,
    product,
    sigmoid_gate,
    tanh_gate,
    through_sigmoid,
    through_tanh,
)


@device
def slstm_token(planes: Any, state: Any) -> None:
    """`planes` (7, n) go from pre-activations to gates, `state` (4, n) over the token."""
    i, f, z, o = four(planes)
    slope = plane(planes, 4)
    h, c, n = plane(state, 0), plane(state, 1), plane(state, 2)
    fill(c, plane(planes, 5))
    fill(n, plane(planes, 6))
    tanh_gate(z)
    sigmoid_gate(o)
    for j in range(slope.shape[0]):
        slope[j] = sigmoid(-f[j])
    for j in range(f.shape[0]):
        f[j] = log_sigmoid(f[j])
    _exponentials(i, f, n, plane(state, 3))
    for j in range(c.shape[0]):
        c[j] = f[j] * c[j] + i[j] * z[j]
    for j in range(n.shape[0]):
        n[j] = f[j] * n[j] + i[j]
    for j in range(h.shape[0]):
        h[j] = o[j] * c[j] / n[j]


@device
def _exponentials(i: Any, f: Any, n: Any, m: Any) -> None:
    """`i, f` from exponents to `e^(. - m)`, m from the maximum before to the larger of them.

    Where n = 0 there was no token before, so that f has no share. The larger exponent's is 1.
    """
    one, none = i.dtype.type(1), i.dtype.type(0)
    for j in range(i.shape[0]):
        f[j] += m[j]
    for j in range(i.shape[0]):
        m[j] = i[j] if n[j] == none else max(i[j], f[j])
    for j in range(i.shape[0]):
        i[j] = i[j] - f[j]
    for j in range(i.shape[0]):
        f[j] = exp(-abs(i[j]))
    for j in range(i.shape[0]):
        smaller, first = f[j], n[j] == none
        f[j] = none if first else (smaller if i[j] > none else one)
        i[j] = one if first or i[j] > none else smaller


@device
def slstm_backward(planes: Any, d_state: Any, d_planes: Any) -> None:
    """`d_planes` (6, n): gradients of pre-activations; those of c n m move to before the token.

    Nothing but `h U` passes the gradient of h on.
    """
    i, f, z, o = four(planes)
    slope, c, n = plane(planes, 4), plane(planes, 5), plane(planes, 6)
    d_i, d_f, d_z, d_o = four(d_planes)
    d_c, d_n = plane(d_state, 1), plane(d_state, 2)
    _answer_backward(planes, d_state, d_planes)
    for j in range(d_i.shape[0]):
        d_i[j] = i[j] * (d_c[j] * z[j] + d_n[j])
    product(d_c, c, d_f)
    for j in range(d_f.shape[0]):
        d_f[j] = f[j] * (d_f[j] + d_n[j] * n[j])
    product(d_c, i, d_z)
    product(d_c, f, d_c)
    product(d_n, f, d_n)
    _top_backward(f, d_i, d_f, plane(d_state, 3))
    product(d_f, slope, d_f)
    through_tanh(d_z, z)
    through_sigmoid(d_o, o)


@device
def _answer_backward(planes: Any, d_state: Any, d_planes: Any) -> None:
    """Gradient of `o c / n` after the token: added to those of c and n; that of o."""
    i, f, z, o = four(planes)
    c, n = plane(planes, 5), plane(planes, 6)
    d_h, d_c, d_n = plane(d_state, 0), plane(d_state, 1), plane(d_state, 2)
    d_o, answer, share = plane(d_planes, 3), plane(d_planes, 4), plane(d_planes, 5)
    for j in range(answer.shape[0]):
        answer[j] = f[j] * c[j] + i[j] * z[j]
    for j in range(share.shape[0]):
        share[j] = f[j] * n[j] + i[j]
    for j in range(share.shape[0]):
        share[j] = c.dtype.type(1) / share[j]
    product(answer, share, answer)
    product(answer, d_h, d_o)
    for j in range(share.shape[0]):
        share[j] *= d_h[j] * o[j]
    for j in range(d_c.shape[0]):
        d_c[j] += share[j]
    for j in range(d_n.shape[0]):
        d_n[j] -= share[j] * answer[j]


@device
def _top_backward(f: Any, d_i: Any, d_f: Any, d_m: Any) -> None:
    """Through the maximum: it was the exponent of f where f' = 1, else that of i."""
    one, none = f.dtype.type(1), f.dtype.type(0)
    for j in range(f.shape[0]):
        d_m[j] -= d_i[j] + d_f[j]
    for j in range(f.shape[0]):
        d_i[j] += d_m[j] if f[j] < one else none
    for j in range(f.shape[0]):
        d_f[j] += none if f[j] < one else d_m[j]
    fill(d_f, d_m)
