"""One input of a token mixer from its columns of the projection.

y = rotary(scale * unit(silu(conv(z) + bias))), each where the rule wants it; or a gate
"""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.layers.dense import Dense
from mcore.layers.feature import Filter, Form
from mcore.layers.gates import decay_gate, decay_gate_backward
from mcore.model.gate import make_gate, make_gate_backward
from mcore.model.part import Params
from mcore.model.slot import Slot
from mcore.recurrence import Gate

CONV = "conv.weight"


class Making(NamedTuple):
    """What the inputs of a mixer have in common.

    Attributes:
        heads: H.
        params: the mixer's.
        position: tokens that came before in the stream, of all rows or of each (B,).
        dense: what runs the dense pairs.
    """

    heads: int
    params: Params
    position: int | Array
    dense: Dense


def make_input(slot: Slot, making: Making, x: Array, taps: Filter | None) -> tuple[Array, Any]:
    """(B, T, H, width), or (B, T, H) for a gate, from its columns x (B, T, .) of the projection.

    `taps` is the convolution of these columns; None if there is none.
    """
    heads, params, law = making.heads, making.params, slot.law
    if isinstance(law, Gate):
        if law.law == "decay":
            return decay_gate(x, params["a_log"], params["dt_bias"])
        return make_gate(slot, heads, params, x)
    form = Form(heads, law.silu, law.unit, slot.scale)
    bias = params[slot.bias] if law.bias is not None else None
    y, saved = making.dense.feature.forward(x, form, taps, bias)
    if not law.rotary:
        return y, (saved, None)
    y, rotary_saved = making.dense.rotary.forward(y, making.position)
    return y, (saved, rotary_saved)


def make_input_backward(slot: Slot, dense: Dense, saved: Any, dy: Array, dx: Array) -> Params:
    """Gradients with respect to the input's own parameters, and its share of `conv.weight`.

    That with respect to its columns of the projection is written into `dx`.
    """
    if isinstance(slot.law, Gate):
        if slot.law.law != "decay":
            dx[...], grads = make_gate_backward(slot, saved, dy)
            return grads
        dx[...], d_a_log, d_dt_bias = decay_gate_backward(saved, dy)
        return {"a_log": d_a_log, "dt_bias": d_dt_bias}
    feature_saved, rotary_saved = saved
    if rotary_saved is not None:
        dy = dense.rotary.backward(rotary_saved, dy)
    d_taps, d_bias = dense.feature.backward(feature_saved, dy, dx)
    found = {CONV: d_taps, slot.bias: d_bias}
    return {name: gradient for name, gradient in found.items() if gradient is not None}
