"""One input of a token mixer from its columns of the projection: activation, unit norm, gate.

vectors: y = scale * unit(silu(z)), each where the rule wants it
scalars: sigmoid(z), or the decay -exp(a_log) softplus(z + dt_bias)
"""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.layers.activations import sigmoid, sigmoid_backward, silu, silu_backward
from mcore.layers.gates import decay_gate, decay_gate_backward
from mcore.layers.norm import unit_norm, unit_norm_backward
from mcore.model.part import Params
from mcore.recurrence import Feature, Gate


class Slot(NamedTuple):
    """One input: how it is made, its width per head, and its columns of the projection."""

    name: str
    law: Feature | Gate
    width: int
    columns: slice

    @property
    def scale(self) -> float:
        """What a vector input is multiplied by."""
        scaled = isinstance(self.law, Feature) and self.law.scale
        return float(self.width**-0.5) if scaled else 1.0


def make_input(slot: Slot, heads: int, params: Params, z: Array) -> tuple[Array, Any]:
    """(B, T, H, width), or (B, T, H) for a gate, from z (B, T, columns of all inputs)."""
    x = z[..., slot.columns]
    if isinstance(slot.law, Gate):
        if slot.law.law == "sigmoid":
            return sigmoid(x)
        return decay_gate(x, params["a_log"], params["dt_bias"])
    silu_saved = unit_saved = None
    if slot.law.silu:
        x, silu_saved = silu(x)
    x = x.reshape(*x.shape[:2], heads, slot.width)
    if slot.law.unit:
        x, unit_saved = unit_norm(x)
    return (x if slot.scale == 1.0 else x * slot.scale), (silu_saved, unit_saved)


def make_input_backward(slot: Slot, saved: Any, dy: Array) -> tuple[Array, Params]:
    """Gradients with respect to the input's columns of z, and to the gate's parameters."""
    if isinstance(slot.law, Gate):
        if slot.law.law == "sigmoid":
            return sigmoid_backward(saved, dy), {}
        dx, d_a_log, d_dt_bias = decay_gate_backward(saved, dy)
        return dx, {"a_log": d_a_log, "dt_bias": d_dt_bias}
    silu_saved, unit_saved = saved
    dx = dy if slot.scale == 1.0 else dy * slot.scale
    if unit_saved is not None:
        dx = unit_norm_backward(unit_saved, dx)
    dx = dx.reshape(*dx.shape[:2], -1)
    return (dx if silu_saved is None else silu_backward(silu_saved, dx)), {}
