"""One token of one row of a GRU: gates r z n, state h."""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import tanh
from mcore.backends.numba_cpu.vector_gates import (
    fill,
    product,
    sigmoid_gate,
    thirds,
    through_sigmoid,
    through_tanh,
)


@device
def gru_token(x: Any, gates: Any, bias: Any, after: Any) -> None:
    """`gates` goes from `h U` to r z n; what r multiplies is kept in `after` (1, V)."""
    width, inner = after.shape[1], after[0]
    r, _, n = thirds(gates)
    sigmoid_gate(x[: 2 * width], gates[: 2 * width])
    for j in range(width):
        inner[j] = n[j] + bias[j]
    product(r, inner, n)
    own = x[2 * width :]
    for j in range(width):
        n[j] = tanh(own[j] + n[j])


@device
def gru_answer(gates: Any, h: Any) -> None:
    """`h = (1 - z) n + z h`."""
    _, z, n = thirds(gates)
    for j in range(h.shape[0]):
        h[j] = n[j] + z[j] * (h[j] - n[j])


@device
def gru_backward(gates: Any, after: Any, h: Any, d_h: Any, d_x: Any) -> None:
    """`gates` goes from r z n to the gradient of `h U`, `d_h` to what z passes to the token before.

    `after` (1, V) is what r multiplied, `h` the vector before the token.
    """
    width, inner = d_h.shape[0], after[0]
    r, z, n = thirds(gates)
    d_r, d_z, d_n = thirds(d_x)
    for j in range(width):
        d_n[j] = d_h[j] - d_h[j] * z[j]
    for j in range(width):
        d_z[j] = d_h[j] * (h[j] - n[j])
    product(d_h, z, d_h)
    through_tanh(d_n, n)
    product(d_n, inner, d_r)
    product(d_n, r, n)
    through_sigmoid(d_r, r)
    through_sigmoid(d_z, z)
    fill(d_x[: 2 * width], gates[: 2 * width])
