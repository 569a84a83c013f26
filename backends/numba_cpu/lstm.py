"""One token of one row of an LSTM: gates i f g o, state h and c."""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import tanh
from mcore.backends.numba_cpu.vector_gates import (
    fill,
    product,
    quarters,
    sigmoid_gate,
    tanh_gate,
    through_sigmoid,
    through_tanh,
    zero,
)


@device
def lstm_token(x: Any, gates: Any, before: Any, after: Any) -> None:
    """`gates` goes from `h U` to the activated gates; c from `before` to `after` (1, V)."""
    width = after.shape[1]
    i, f, g, _ = quarters(gates)
    sigmoid_gate(x[: 2 * width], gates[: 2 * width])
    tanh_gate(x[2 * width : 3 * width], g)
    sigmoid_gate(x[3 * width :], gates[3 * width :])
    old, new = before[0], after[0]
    for j in range(width):
        new[j] = f[j] * old[j] + i[j] * g[j]


@device
def lstm_answer(gates: Any, after: Any, h: Any) -> None:
    """`h = o tanh(c)`."""
    o, c = gates[3 * h.shape[0] :], after[0]
    for j in range(h.shape[0]):
        h[j] = o[j] * tanh(c[j])


@device
def lstm_backward(gates: Any, cells: Any, d_h: Any, d_cell: Any, d_x: Any) -> None:
    """`gates` goes from the gates to the gradient of `h U`, `d_cell` (1, V) to the token before.

    `cells`: c before and after the token. Nothing but `h U` passes `d_h` on: it is 0 then.
    """
    before, after, dc = cells[0][0], cells[1][0], d_cell[0]
    i, f, g, o = quarters(gates)
    d_i, d_f, d_g, d_o = quarters(d_x)
    one = gates.dtype.type(1)
    for j in range(dc.shape[0]):
        d_o[j] = tanh(after[j])
    for j in range(dc.shape[0]):
        dc[j] += d_h[j] * o[j] * (one - d_o[j] * d_o[j])
    product(d_o, d_h, d_o)
    product(dc, g, d_i)
    product(dc, before, d_f)
    product(dc, i, d_g)
    product(dc, f, dc)
    through_sigmoid(d_i, i)
    through_sigmoid(d_f, f)
    through_tanh(d_g, g)
    through_sigmoid(d_o, o)
    fill(d_x, gates)
    zero(d_h)
