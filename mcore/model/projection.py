"""From tokens to a memory's inputs: one projection, short convolution, activations and gates.

    z = x W;   c = conv(z_conv);   q, k, v = scale * unit(silu(c + bias));   u = z_u
    beta = sigmoid(z_beta);   log_decay = -exp(a_log) softplus(z_decay + dt_bias)

Then what is made of those (`model/derived.py`). Which of these a rule wants is declared by the rule
(`Recurrence.features`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.documents import reach_of
from mcore.layers.conv import short_conv, short_conv_backward
from mcore.model.columns import columns, columns_backward
from mcore.model.features import make_input, make_input_backward
from mcore.model.part import DOCUMENT, Params, State
from mcore.model.starts import starts
from mcore.model.wiring import Wiring


@dataclass(frozen=True)
class Projection(Wiring):
    """Makes the inputs of a token mixer."""

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values."""
        return starts(self, rng, dtype)

    def forward(self, params: Params, x: Array, state: State) -> tuple[dict[str, Array], Any]:
        """Inputs by name, (B, T, H, width) or (B, T, H); x (B, T, D)."""
        reach = reach_of(state[DOCUMENT]) if DOCUMENT in state else None
        (z, last), z_saved = columns(x, params, self.slots, state.get("last"), reach)
        conv_saved, tail = None, None
        c = z[..., : self.convolved]
        if self.convolved:
            weight, before = params["conv.weight"], self._tail(state, z)
            (c, tail), conv_saved = short_conv(c, weight, before, reach)
        position = int(state["position"][0]) if "position" in state else 0
        inputs, kept = {}, {}
        for slot in self.slots:
            seen = c if self.convolves(slot.name) else z
            made = make_input(slot, self.heads, params, seen, position)
            inputs[slot.name], kept[slot.name] = made
        for name, law in self.parameters.items():
            inputs[name] = params[name] if law.trained else self._fixed(name, x)
        for source in self.derived:
            inputs[source.name], kept[source.name] = source.make(inputs, params)
        end = self._end(x, position, {"tail": tail, "last": last})
        return inputs, Saved(z_saved, conv_saved, kept, z.shape, end)

    def backward(self, saved: "Saved", d_inputs: dict[str, Array]) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        d_inputs, derived_grads = self._derived_backward(saved, d_inputs)
        like = d_inputs[self.slots[0].name]
        xp = namespace(like)
        dz = xp.empty(saved.shape, like.dtype)
        grads: Params = {n: d_inputs[n] for n, law in self.parameters.items() if law.trained}
        for slot in self.slots:
            dz[..., slot.columns], more = make_input_backward(
                slot, saved.inputs[slot.name], d_inputs[slot.name]
            )
            grads |= more
        if saved.conv is not None:
            dc = dz[..., : self.convolved]
            d_tail = xp.zeros_like(saved.end["tail"])
            dc, grads["conv.weight"], _ = short_conv_backward(saved.conv, dc, d_tail)
            dz[..., : self.convolved] = dc
        dx, more = columns_backward(saved.columns, dz, self.slots)
        return dx, _added(grads | more, derived_grads)

    def end(self, saved: "Saved") -> State:
        """What the convolution, the token shift and the rotation need to go on."""
        return saved.end

    def _derived_backward(
        self, saved: "Saved", d_inputs: dict[str, Array]
    ) -> tuple[dict[str, Array], Params]:
        """Gradients of all projected inputs, and of the weights of the derived ones."""
        found, grads = dict(d_inputs), Params()
        for source in reversed(self.derived):
            more, weights = source.make_backward(saved.inputs[source.name], found[source.name])
            found, grads = _added(found, more), _added(grads, weights)
        return found, grads

    def _end(self, x: Array, position: int, found: dict[str, Array | None]) -> State:
        end = {name: value for name, value in found.items() if value is not None}
        if self.turns:
            end["position"] = np.full(x.shape[0], position + x.shape[1], np.int64)
        return end

    def _fixed(self, name: str, x: Array) -> Array:
        start = self.parameters[name].start(np.random.default_rng(0), self.widths[name])
        fixed: Array = namespace(x).asarray(start, x.dtype)
        return fixed

    def _tail(self, state: State, z: Array) -> Array:
        if "tail" in state:
            return state["tail"]
        tail: Array = namespace(z).zeros((z.shape[0], self.conv - 1, self.convolved), z.dtype)
        return tail


class Saved(NamedTuple):
    """What a projection keeps: of the columns, the convolution and each input; and the state."""

    columns: Any
    conv: Any
    inputs: dict[str, Any]
    shape: tuple[int, ...]
    end: State


def _added(first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
    """The sum of both, by name; the entries of either."""
    both = {name: first[name] + x for name, x in second.items() if name in first}
    return {**first, **second, **both}
