"""One token of a GRU, for all rows of a block at once: state h.

Planes that forward keeps: the gates r z n, and the inner one, which r multiplies.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import tanh
from mcore.backends.numba_cpu.vector_gates import (
    four,
    plane,
    product,
    sigmoid_gate,
    through_sigmoid,
    through_tanh,
)


@device
def gru_token(planes: Any, state: Any) -> None:
    """`planes` (4, n) go from pre-activations to gates, `state` (1, n) over the token."""
    r, z, n, inner = four(planes)
    h = plane(state, 0)
    sigmoid_gate(r)
    sigmoid_gate(z)
    for j in range(n.shape[0]):
        n[j] = tanh(n[j] + r[j] * inner[j])
    for j in range(h.shape[0]):
        h[j] = n[j] + z[j] * (h[j] - n[j])


@device
def gru_backward(planes: Any, h: Any, d_state: Any, d_planes: Any) -> None:
    """`d_planes` (4, n): gradients of what r, z, inner and n were made from.

    `h` is that before the token; its gradient becomes what z passes to it.
    """
    r, z, n, inner = four(planes)
    d_r, d_z, d_inner, d_n = four(d_planes)
    d_h = plane(d_state, 0)
    for j in range(d_n.shape[0]):
        d_n[j] = d_h[j] - d_h[j] * z[j]
    for j in range(d_z.shape[0]):
        d_z[j] = d_h[j] * (h[j] - n[j])
    product(d_h, z, d_h)
    through_tanh(d_n, n)
    product(d_n, inner, d_r)
    product(d_n, r, d_inner)
    through_sigmoid(d_r, r)
    through_sigmoid(d_z, z)
