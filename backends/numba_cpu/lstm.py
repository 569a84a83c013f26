"""One token of an LSTM, for all rows of a block at once: state h, c.

Planes that forward keeps: the gates i f g o, and c before the token.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import tanh
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
def lstm_token(planes: Any, state: Any) -> None:
    """`planes` (5, n) go from pre-activations to gates, `state` (2, n) over the token."""
    i, f, g, o = four(planes)
    h, c = plane(state, 0), plane(state, 1)
    fill(c, plane(planes, 4))
    sigmoid_gate(i)
    sigmoid_gate(f)
    tanh_gate(g)
    sigmoid_gate(o)
    for j in range(c.shape[0]):
        c[j] = f[j] * c[j] + i[j] * g[j]
    for j in range(c.shape[0]):
        h[j] = o[j] * tanh(c[j])


@device
def lstm_backward(planes: Any, d_state: Any, d_planes: Any) -> None:
    """`d_planes` (4, n): gradients of pre-activations; that of c moves to before the token.

    Nothing but `h U` passes the gradient of h on.
    """
    i, f, g, o = four(planes)
    c = plane(planes, 4)
    d_i, d_f, d_g, d_o = four(d_planes)
    d_h, d_c = plane(d_state, 0), plane(d_state, 1)
    one = c.dtype.type(1)
    for j in range(d_o.shape[0]):
        d_o[j] = tanh(f[j] * c[j] + i[j] * g[j])
    for j in range(d_c.shape[0]):
        d_c[j] += d_h[j] * o[j] * (one - d_o[j] * d_o[j])
    product(d_o, d_h, d_o)
    product(d_c, g, d_i)
    product(d_c, c, d_f)
    product(d_c, i, d_g)
    product(d_c, f, d_c)
    through_sigmoid(d_i, i)
    through_sigmoid(d_f, f)
    through_tanh(d_g, g)
    through_sigmoid(d_o, o)
