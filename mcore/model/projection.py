"""From tokens to a memory's inputs: one projection, short convolution, activations and gates.

    z = x W;   c = conv(z_conv);   q, k, v = scale * unit(silu(c + bias));   u = z_u
    beta = sigmoid(z_beta);   log_decay = -exp(a_log) softplus(z_decay + dt_bias)

Which of these a rule wants is declared by the rule (`Recurrence.features`).
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from mcore.arrays import Array, namespace
from mcore.layers.conv import short_conv, short_conv_backward
from mcore.layers.gates import init_a_log, init_dt_bias
from mcore.layers.init import depthwise, fan_in, normal
from mcore.layers.linear import linear, linear_backward
from mcore.model.features import Slot, make_input, make_input_backward
from mcore.model.part import Params, Shapes, State
from mcore.recurrence import Feature, Gate, Law, Parameter

ROUTER_STD = 0.02
"""Standard deviation of W_u at the start: nearly uniform gates."""


@dataclass(frozen=True)
class Projection:
    """Makes the inputs of a token mixer.

    Attributes:
        features: input name -> how it is made, as a rule declares it.
        widths: input name -> shape per head; of parameters, their whole shape.
        model: D.
        heads: H.
        conv: tokens that the short convolution sees; 0 for none.
    """

    features: dict[str, Law]
    widths: dict[str, tuple[int, ...]]
    model: int
    heads: int
    conv: int

    @cached_property
    def slots(self) -> list[Slot]:
        """Inputs that are projected from x, the convolved ones first."""
        laws = {n: law for n, law in self.features.items() if not isinstance(law, Parameter)}
        found, begin = [], 0
        for name in sorted(laws, key=lambda n: not self._convolves(n)):
            width = prod(self.widths[name])
            end = begin + (_rank(laws[name]) or width * self.heads)
            found.append(Slot(name, laws[name], width, slice(begin, end)))
            begin = end
        return found

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Inputs that are the same for all tokens."""
        return {n: law for n, law in self.features.items() if isinstance(law, Parameter)}

    @property
    def biases(self) -> list[Slot]:
        """The inputs that a bias is added to."""
        return [s for s in self.slots if s.law.bias is not None]

    @property
    def narrow(self) -> list[Slot]:
        """The gates per channel, projected through a bottleneck."""
        return [s for s in self.slots if _rank(s.law)]

    @cached_property
    def convolved(self) -> int:
        """Number of channels that the convolution sees."""
        return sum(s.width * self.heads for s in self.slots if self._convolves(s.name))

    @property
    def decays(self) -> bool:
        """Whether there is a softplus decay."""
        return Gate("decay") in self.features.values()

    def shapes(self) -> Shapes:
        """`project.weight`, `conv.weight`, biases, and the decay's `a_log`, `dt_bias`."""
        shapes: Shapes = {"project.weight": (self.model, self.slots[-1].columns.stop)}
        if self.convolved:
            shapes["conv.weight"] = (self.convolved, self.conv)
        shapes |= {s.bias: (s.width * self.heads,) for s in self.biases}
        shapes |= {s.up: (_rank(s.law), s.width * self.heads) for s in self.narrow}
        if self.decays:
            shapes |= {"a_log": (self.heads,), "dt_bias": (self.heads,)}
        return shapes | {n: self.widths[n] for n, law in self.parameters.items() if law.trained}

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Fan-in scaled weights; W_u small; decays as in Mamba-2."""
        params: Params = {}
        weight = fan_in(rng, self.shapes()["project.weight"], dtype)
        for slot in self.slots:
            if slot.name == "u":
                shape = weight[:, slot.columns].shape
                weight[:, slot.columns] = normal(rng, shape, ROUTER_STD, dtype)
            if isinstance(slot.law, Gate) and slot.law.flat:
                weight[:, slot.columns] = 0
        params["project.weight"] = weight
        if self.convolved:
            params["conv.weight"] = depthwise(rng, self.convolved, self.conv, dtype)
        if self.decays:
            params["a_log"] = init_a_log(rng, self.heads, dtype)
            params["dt_bias"] = init_dt_bias(rng, self.heads, dtype)
        for slot in self.biases:
            assert slot.law.bias is not None
            bias = slot.law.bias(rng, (self.heads, slot.width))
            params[slot.bias] = bias.reshape(-1).astype(dtype)
        for slot in self.narrow:
            params[slot.up] = fan_in(rng, self.shapes()[slot.up], dtype)
        for name, law in self.parameters.items():
            if law.trained:
                params[name] = law.start(rng, self.widths[name]).astype(dtype)
        return params

    def forward(self, params: Params, x: Array, state: State) -> tuple[dict[str, Array], Any]:
        """Inputs by name, (B, T, H, width) or (B, T, H); x (B, T, D)."""
        z, linear_saved = linear(x, params["project.weight"])
        conv_saved, tail = None, None
        c = z[..., : self.convolved]
        if self.convolved:
            (c, tail), conv_saved = short_conv(c, params["conv.weight"], self._tail(state, z))
        made = {
            s.name: make_input(s, self.heads, params, c if self._convolves(s.name) else z)
            for s in self.slots
        }
        inputs = {name: value for name, (value, _) in made.items()}
        for name, law in self.parameters.items():
            inputs[name] = params[name] if law.trained else self._fixed(name, x)
        saved = {name: kept for name, (_, kept) in made.items()}
        return inputs, (linear_saved, conv_saved, tail, saved, z.shape)

    def backward(self, saved: Any, d_inputs: dict[str, Array]) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        linear_saved, conv_saved, tail, made, shape = saved
        like = d_inputs[self.slots[0].name]
        xp = namespace(like)
        dz = xp.empty(shape, like.dtype)
        grads: Params = {n: d_inputs[n] for n, law in self.parameters.items() if law.trained}
        for slot in self.slots:
            dz[..., slot.columns], more = make_input_backward(
                slot, made[slot.name], d_inputs[slot.name]
            )
            grads |= more
        if conv_saved is not None:
            dc = dz[..., : self.convolved]
            dc, grads["conv.weight"], _ = short_conv_backward(conv_saved, dc, xp.zeros_like(tail))
            dz[..., : self.convolved] = dc
        dx, grads["project.weight"] = linear_backward(linear_saved, dz)
        return dx, grads

    def end(self, saved: Any) -> State:
        """The inputs that the convolution needs to go on."""
        return {} if saved[2] is None else {"tail": saved[2]}

    def _fixed(self, name: str, x: Array) -> Array:
        start = self.parameters[name].start(np.random.default_rng(0), self.widths[name])
        fixed: Array = namespace(x).asarray(start, x.dtype)
        return fixed

    def _convolves(self, name: str) -> bool:
        law = self.features[name]
        return self.conv > 0 and isinstance(law, Feature) and law.conv

    def _tail(self, state: State, z: Array) -> Array:
        if "tail" in state:
            return state["tail"]
        tail: Array = namespace(z).zeros((z.shape[0], self.conv - 1, self.convolved), z.dtype)
        return tail


def _rank(law: Law) -> int:
    """Columns of a gate's bottleneck; 0 if it has none."""
    return law.rank if isinstance(law, Gate) else 0
