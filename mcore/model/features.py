"""One input of a token mixer from its columns of the projection: activation, unit norm, rotation.

y = scale * rotary(unit(silu(z + bias))), each where the rule wants it
"""

from typing import Any

from mcore.arrays import Array
from mcore.layers.activations import silu, silu_backward
from mcore.layers.gates import decay_gate, decay_gate_backward
from mcore.layers.norm import unit_norm, unit_norm_backward
from mcore.layers.rope import rotary, rotary_backward
from mcore.model.gate import make_gate, make_gate_backward
from mcore.model.part import Params
from mcore.model.slot import Slot
from mcore.recurrence import Gate


def make_input(
    slot: Slot, heads: int, params: Params, z: Array, position: int
) -> tuple[Array, Any]:
    """(B, T, H, width), or (B, T, H) for a gate, from z (B, T, columns of all inputs).

    `position` is the number of tokens that came before in the stream.
    """
    x = z[..., slot.columns]
    if isinstance(slot.law, Gate):
        if slot.law.law == "decay":
            return decay_gate(x, params["a_log"], params["dt_bias"])
        return make_gate(slot, heads, params, x)
    silu_saved = unit_saved = rotary_saved = None
    if slot.law.bias is not None:
        x = x + params[slot.bias]
    if slot.law.silu:
        x, silu_saved = silu(x)
    x = x.reshape(*x.shape[:2], heads, slot.width)
    if slot.law.unit:
        x, unit_saved = unit_norm(x)
    if slot.law.rotary:
        x, rotary_saved = rotary(x, position)
    x = x if slot.scale == 1.0 else x * slot.scale
    return x, (silu_saved, unit_saved, rotary_saved)


def make_input_backward(slot: Slot, saved: Any, dy: Array) -> tuple[Array, Params]:
    """Gradients with respect to the input's columns of z, and to its own parameters."""
    if isinstance(slot.law, Gate):
        if slot.law.law != "decay":
            return make_gate_backward(slot, saved, dy)
        dx, d_a_log, d_dt_bias = decay_gate_backward(saved, dy)
        return dx, {"a_log": d_a_log, "dt_bias": d_dt_bias}
    silu_saved, unit_saved, rotary_saved = saved
    dx = dy if slot.scale == 1.0 else dy * slot.scale
    if rotary_saved is not None:
        dx = rotary_backward(rotary_saved, dx)
    if unit_saved is not None:
        dx = unit_norm_backward(unit_saved, dx)
    dx = dx.reshape(*dx.shape[:2], -1)
    dx = dx if silu_saved is None else silu_backward(silu_saved, dx)
    return dx, ({} if slot.law.bias is None else {slot.bias: dx.sum((0, 1))})
