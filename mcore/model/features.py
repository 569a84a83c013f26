"""One input of a token mixer from its columns of the projection: activation, unit norm, gate.

vectors: y = scale * unit(silu(z + bias)), each where the rule wants it
gates:   sigmoid(z), log(sigmoid(z)) / 16, 15 tanh(z / 15), -exp(a_log) softplus(z + dt_bias)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.layers.activations import sigmoid, sigmoid_backward, silu, silu_backward
from mcore.layers.gates import (
    bounded_decay,
    bounded_decay_backward,
    capped,
    capped_backward,
    decay_gate,
    decay_gate_backward,
    slow_decay,
    slow_decay_backward,
)
from mcore.layers.linear import linear, linear_backward
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
    def bias(self) -> str:
        """Name of its bias among the parameters."""
        return f"{self.name}.bias"

    @property
    def up(self) -> str:
        """Name of what leads out of its bottleneck, among the parameters."""
        return f"{self.name}.up"

    @property
    def scale(self) -> float:
        """What a vector input or a sigmoid is multiplied by."""
        if isinstance(self.law, Gate):
            return self.law.largest
        scaled = isinstance(self.law, Feature) and self.law.scale
        return float(self.width**-0.5) if scaled else 1.0


def make_input(slot: Slot, heads: int, params: Params, z: Array) -> tuple[Array, Any]:
    """(B, T, H, width), or (B, T, H) for a gate, from z (B, T, columns of all inputs)."""
    x = z[..., slot.columns]
    if isinstance(slot.law, Gate):
        if slot.law.law == "decay":
            return decay_gate(x, params["a_log"], params["dt_bias"])
        return make_gate(slot, heads, params, x)
    silu_saved = unit_saved = None
    if slot.law.bias is not None:
        x = x + params[slot.bias]
    if slot.law.silu:
        x, silu_saved = silu(x)
    x = x.reshape(*x.shape[:2], heads, slot.width)
    if slot.law.unit:
        x, unit_saved = unit_norm(x)
    return (x if slot.scale == 1.0 else x * slot.scale), (silu_saved, unit_saved)


def make_input_backward(slot: Slot, saved: Any, dy: Array) -> tuple[Array, Params]:
    """Gradients with respect to the input's columns of z, and to its own parameters."""
    if isinstance(slot.law, Gate):
        if slot.law.law != "decay":
            return make_gate_backward(slot, saved, dy)
        dx, d_a_log, d_dt_bias = decay_gate_backward(saved, dy)
        return dx, {"a_log": d_a_log, "dt_bias": d_dt_bias}
    silu_saved, unit_saved = saved
    dx = dy if slot.scale == 1.0 else dy * slot.scale
    if unit_saved is not None:
        dx = unit_norm_backward(unit_saved, dx)
    dx = dx.reshape(*dx.shape[:2], -1)
    dx = dx if silu_saved is None else silu_backward(silu_saved, dx)
    return dx, ({} if slot.law.bias is None else {slot.bias: dx.sum((0, 1))})


POINTWISE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sigmoid": (sigmoid, sigmoid_backward),
    "slow_decay": (slow_decay, slow_decay_backward),
    "capped": (capped, capped_backward),
    "bounded_decay": (bounded_decay, bounded_decay_backward),
}
"""Gates that are a function of one number: forward and backward by law."""


def make_gate(slot: Slot, heads: int, params: Params, x: Array) -> tuple[Array, Any]:
    """(B, T, H), or (B, T, H, width) through a bottleneck; x are the gate's columns of z."""
    assert isinstance(slot.law, Gate)
    up_saved = None
    if slot.up in params:
        x, up_saved = linear(x, params[slot.up])
    if slot.bias in params:
        x = x + params[slot.bias]
    y, saved = POINTWISE[slot.law.law][0](x)
    y = y if slot.scale == 1.0 else y * slot.scale
    if up_saved is not None:
        y = y.reshape(*y.shape[:2], heads, slot.width)
    return y, (up_saved, saved)


def make_gate_backward(slot: Slot, saved: Any, dy: Array) -> tuple[Array, Params]:
    """Gradients with respect to the gate's columns of z, and to its parameters."""
    assert isinstance(slot.law, Gate)
    up_saved, kept = saved
    dy = dy if slot.scale == 1.0 else dy * slot.scale
    dx = POINTWISE[slot.law.law][1](kept, dy.reshape(*dy.shape[:2], -1))
    grads: Params = {} if slot.law.bias is None else {slot.bias: dx.sum((0, 1))}
    if up_saved is not None:
        dx, grads[slot.up] = linear_backward(up_saved, dx)
    return dx, grads
