"""Inputs that a layer makes of other inputs (`mcore.recurrence.Derived`), with their weights."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.layers.bypass import bonus, bonus_backward, scaled, scaled_backward
from mcore.layers.gates import capped, capped_backward
from mcore.layers.held import held, held_backward
from mcore.layers.linear import linear, linear_backward
from mcore.layers.removal import (
    removal_key,
    removal_key_backward,
    replacement_key,
    replacement_key_backward,
)
from mcore.model.part import Params, Shapes
from mcore.recurrence import Derived

A_LOG = "a_log"
"""The rate of a softplus decay, which `held` shares with it."""


class Maker(NamedTuple):
    """A pair over (*inputs, *weights), and what the weights are at the start."""

    forward: Callable[..., tuple[Array, Any]]
    backward: Callable[..., tuple[Array, ...]]
    start: float = 0.0


class Source(NamedTuple):
    """Where a derived input comes from.

    Attributes:
        name, law: the input, and how it is made.
        heads: H.
        widths: numbers per head of each input in `law.of`.
    """

    name: str
    law: Derived
    heads: int
    widths: tuple[int, ...]

    @property
    def weights(self) -> Shapes:
        """Name -> shape of its weights, in the order in which its maker takes them."""
        if self.law.law == "held":
            return {A_LOG: (self.heads,)}
        if self.law.law == "capped":
            pairs = zip(self.law.of, self.widths, strict=True)
            matrices = {f"{self.name}.{of}": (self.heads * w, self.heads) for of, w in pairs}
            return {**matrices, f"{self.name}.bias": (self.heads,)}
        per_head = 1 if self.law.law == "scaled" else self.widths[0]
        return {f"{self.name}.weight": (self.heads * per_head,)}

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Its own weights at the start."""
        own = {name: shape for name, shape in self.weights.items() if name != A_LOG}
        params = {n: np.full(s, MAKERS[self.law.law].start, dtype) for n, s in own.items()}
        if self.law.bias is not None:
            bias = self.law.bias(rng, (self.heads, 1))
            params[f"{self.name}.bias"] = bias.reshape(-1).astype(dtype)
        return params

    def make(self, inputs: dict[str, Array], params: Params) -> tuple[Array, Any]:
        """The input, and what `make_backward` needs."""
        arguments = [inputs[name] for name in self.law.of]
        arguments += [params[name] for name in self.weights]
        return MAKERS[self.law.law].forward(*arguments)

    def make_backward(self, saved: Any, dy: Array) -> tuple[dict[str, Array], Params]:
        """Gradients with respect to the inputs it is made of, and to its weights."""
        found = MAKERS[self.law.law].backward(saved, dy)
        count = len(self.law.of)
        d_inputs = dict(zip(self.law.of, found[:count], strict=True))
        return d_inputs, dict(zip(self.weights, found[count:], strict=True))


def capped_sum(*arguments: Array) -> tuple[Array, Any]:
    """`15 tanh(z / 15)` with `z = sum_i x_i W_i + bias`, over the heads together.

    Arguments: inputs (B, T, H, width) each, as many weights (H width, H), bias (H,). The result
    is (B, T, H).
    """
    count = len(arguments) // 2
    xs, weights, bias = arguments[:count], arguments[count:-1], arguments[-1]
    pairs = [linear(x.reshape(*x.shape[:2], -1), w) for x, w in zip(xs, weights, strict=True)]
    z = sum((z for z, _ in pairs[1:]), pairs[0][0]) + bias
    y, capped_saved = capped(z)
    return y, ([x.shape for x in xs], [saved for _, saved in pairs], capped_saved)


def capped_sum_backward(saved: Any, dy: Array) -> tuple[Array, ...]:
    """Gradients of `capped_sum`, in the order of its arguments."""
    shapes, kept, capped_saved = saved
    dz = capped_backward(capped_saved, dy)
    pairs = [linear_backward(each, dz) for each in kept]
    d_inputs = [dx.reshape(shape) for (dx, _), shape in zip(pairs, shapes, strict=True)]
    return (*d_inputs, *(d_weight for _, d_weight in pairs), dz.sum((0, 1)))


MAKERS = {
    "held": Maker(held, held_backward),
    "removal": Maker(removal_key, removal_key_backward, start=0.85),
    "replacement": Maker(replacement_key, replacement_key_backward, start=1.0),
    "scaled": Maker(scaled, scaled_backward, start=1.0),
    "bonus": Maker(bonus, bonus_backward),
    "capped": Maker(capped_sum, capped_sum_backward),
}
"""Laws of `Derived`; RWKV-7's and Mamba-2's starting values."""
