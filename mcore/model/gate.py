"""Gates of a token mixer from their columns of the projection, some through a bottleneck.

y = largest f(g(x) W_up + bias), with f and g functions of one number, by name
"""

from collections.abc import Callable
from typing import Any

from mcore.arrays import Array, namespace
from mcore.layers.activations import sigmoid, sigmoid_backward
from mcore.layers.gates import (
    bounded_decay,
    bounded_decay_backward,
    slow_decay,
    slow_decay_backward,
)
from mcore.layers.linear import linear, linear_backward
from mcore.model.part import Params
from mcore.model.slot import Slot
from mcore.recurrence import Gate


def identity(x: Array) -> tuple[Array, None]:
    """x itself."""
    return x, None


def identity_backward(saved: None, dy: Array) -> Array:
    """dy itself."""
    return dy


def tanh(x: Array) -> tuple[Array, Array]:
    """`tanh(x)`."""
    y: Array = namespace(x).tanh(x)
    return y, y


def tanh_backward(saved: Array, dy: Array) -> Array:
    """`dx = dy (1 - y^2)`."""
    dx: Array = dy * (1 - saved**2)
    return dx


POINTWISE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sigmoid": (sigmoid, sigmoid_backward),
    "slow_decay": (slow_decay, slow_decay_backward),
    "bounded_decay": (bounded_decay, bounded_decay_backward),
    "identity": (identity, identity_backward),
    "tanh": (tanh, tanh_backward),
}
"""Functions of one number that gates are made of: forward and backward by name."""


def make_gate(slot: Slot, heads: int, params: Params, x: Array) -> tuple[Array, Any]:
    """(B, T, H), or (B, T, H, width) through a bottleneck; x are the gate's columns of z."""
    assert isinstance(slot.law, Gate)
    inner_saved = up_saved = None
    if slot.law.rank:
        x, inner_saved = POINTWISE[slot.law.inner][0](x)
        x, up_saved = linear(x, params[slot.up])
    if slot.law.bias is not None:
        x = x + params[slot.bias]
    y, saved = POINTWISE[slot.law.law][0](x)
    y = y if slot.scale == 1.0 else y * slot.scale
    if slot.law.rank:
        y = y.reshape(*y.shape[:2], heads, slot.width)
    return y, (inner_saved, up_saved, saved)


def make_gate_backward(slot: Slot, saved: Any, dy: Array) -> tuple[Array, Params]:
    """Gradients with respect to the gate's columns of z, and to its parameters."""
    assert isinstance(slot.law, Gate)
    inner_saved, up_saved, kept = saved
    dy = dy if slot.scale == 1.0 else dy * slot.scale
    dx = POINTWISE[slot.law.law][1](kept, dy.reshape(*dy.shape[:2], -1))
    grads: Params = {} if slot.law.bias is None else {slot.bias: dx.sum((0, 1))}
    if slot.law.rank:
        dx, grads[slot.up] = linear_backward(up_saved, dx)
        dx = POINTWISE[slot.law.inner][1](inner_saved, dx)
    return dx, grads
