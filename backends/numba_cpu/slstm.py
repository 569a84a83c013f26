"""One token of one row of an sLSTM: gates i f z o, state h, c, n and m.

Kept for backward beside c, n and m: sigmoid(-f), the slope of log sigmoid(f).
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp, log_sigmoid, sigmoid
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
def slstm_token(x: Any, gates: Any, before: Any, after: Any) -> None:
    """`gates`: from `h U` to i' f' tanh(z) sigmoid(o); c n m: from `before` to `after` (4, V)."""
    width = after.shape[1]
    i, f, z, o = quarters(gates)
    x_i, x_f, x_z, x_o = quarters(x)
    tanh_gate(x_z, z)
    sigmoid_gate(x_o, o)
    slope = after[3]
    for j in range(width):
        f[j] += x_f[j]
        slope[j] = sigmoid(-f[j])
    for j in range(width):
        f[j] = log_sigmoid(f[j])
    for j in range(width):
        i[j] += x_i[j]
    _exponentials(i, f, before, after[2])
    for e in range(2):
        old, new = before[e], after[e]
        for j in range(width):
            new[j] = f[j] * old[j] + i[j] * (z[j] if e == 0 else z.dtype.type(1))


@device
def _exponentials(i: Any, f: Any, before: Any, top: Any) -> None:
    """`i, f` from the exponents to `e^(. - m)`, with m, the larger of them, in `top`."""
    n, m, none = before[1], before[2], i.dtype.type(0)
    for j in range(i.shape[0]):
        f[j] += m[j]
    for j in range(i.shape[0]):
        top[j] = i[j] if n[j] == none else max(i[j], f[j])
    for j in range(i.shape[0]):
        i[j] = exp(i[j] - top[j])
    for j in range(i.shape[0]):
        f[j] = exp(f[j] - top[j])
    for j in range(i.shape[0]):
        f[j] = none if n[j] == none else f[j]


@device
def slstm_answer(gates: Any, after: Any, h: Any) -> None:
    """`h = o c / n`."""
    o, c, n = gates[3 * h.shape[0] :], after[0], after[1]
    for j in range(h.shape[0]):
        h[j] = o[j] * c[j] / n[j]


@device
def slstm_backward(gates: Any, states: Any, d_h: Any, d_after: Any, d_x: Any) -> None:
    """`gates` goes from the gates to the gradient of `h U`, `d_after` to the token before.

    `states`: (c, n, m) before and after the token. Nothing but `h U` passes `d_h` on: it is 0 then.
    """
    before, after = states
    i, f, z, o = quarters(gates)
    d_i, d_f, d_z, d_o = quarters(d_x)
    dc, dn = d_after[0], d_after[1]
    _answer_backward(o, after, d_h, (dc, dn), (d_z, d_o))
    for j in range(dc.shape[0]):
        d_i[j] = i[j] * (dc[j] * z[j] + dn[j])
    product(dc, before[0], d_f)
    old = before[1]
    for j in range(dc.shape[0]):
        d_f[j] = f[j] * (d_f[j] + dn[j] * old[j])
    product(dc, i, d_z)
    product(dc, f, dc)
    product(dn, f, dn)
    _top_backward(f, d_i, d_f, d_after[2])
    product(d_f, after[3], d_f)
    through_tanh(d_z, z)
    through_sigmoid(d_o, o)
    fill(d_x, gates)
    zero(d_h)


@device
def _answer_backward(o: Any, after: Any, d_h: Any, d_state: Any, out: Any) -> None:
    """Gradient of `o c / n`: added to those of c and n; that of o goes to `out[1]`."""
    c, n = after[0], after[1]
    dc, dn = d_state
    share, d_o = out
    for j in range(o.shape[0]):
        d_o[j] = c[j] / n[j]
    for j in range(o.shape[0]):
        share[j] = d_h[j] * o[j] / n[j]
    for j in range(o.shape[0]):
        dc[j] += share[j]
    for j in range(o.shape[0]):
        dn[j] -= share[j] * d_o[j]
    product(d_o, d_h, d_o)


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
