"""From tokens to a memory's inputs: one projection, short convolution, activations and gates.

    z = x W;   q, k, v = scale * unit(silu(conv(z) + bias));   u = z_u
    beta = sigmoid(z_beta);   log_decay = -exp(a_log) softplus(z_decay + dt_bias)

Then what is made of those (`model/derived.py`). Which of these a rule wants is declared by the rule
(`Recurrence.features`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.documents import reach_of
from mcore.layers.conv import next_tail
from mcore.layers.feature import Filter
from mcore.model.columns import columns, columns_backward
from mcore.model.features import CONV, Making, make_input, make_input_backward
from mcore.model.part import DOCUMENT, Params, State
from mcore.model.slot import Slot
from mcore.model.starts import starts
from mcore.model.wiring import Wiring
from mcore.placing import like, sent


@dataclass(frozen=True)
class Projection(Wiring):
    """Makes the inputs of a token mixer."""

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values."""
        return starts(self, rng, dtype)

    def forward(self, params: Params, x: Array, state: State) -> tuple[dict[str, Array], Any]:
        """Inputs by name, (B, T, H, width) or (B, T, H); x (B, T, D)."""
        reach = sent(x, reach_of(state[DOCUMENT])) if DOCUMENT in state else None
        (z, last), z_saved = columns(x, params, self.slots, state.get("last"), reach)
        position = _begun(state.get("position"))
        making = Making(self.heads, params, position, self.dense)
        whole = self._filter(params, state, z, reach)
        inputs, kept = {}, {}
        for slot in self.slots:
            taps = self._taps(slot, whole)
            made = make_input(slot, making, z[..., slot.columns], taps)
            inputs[slot.name], kept[slot.name] = made
        for name, law in self.parameters.items():
            inputs[name] = params[name] if law.trained else self._fixed(name, z)
        for source in self.derived:
            inputs[source.name], kept[source.name] = source.make(inputs, params)
        tail = whole and next_tail(whole.tail, z[..., : self.convolved])
        end = self._end(x, position, {"tail": tail, "last": last})
        return inputs, Saved(z_saved, kept, z.shape, end)

    def backward(self, saved: "Saved", d_inputs: dict[str, Array]) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        d_inputs, derived_grads = self._derived_backward(saved, d_inputs)
        like = d_inputs[self.slots[0].name]
        xp = namespace(like)
        dz = xp.empty(saved.shape, like.dtype)
        grads: Params = {n: d_inputs[n] for n, law in self.parameters.items() if law.trained}
        d_taps = []
        for slot in self.slots:
            kept, dy, columns = saved.inputs[slot.name], d_inputs[slot.name], dz[..., slot.columns]
            more = make_input_backward(slot, self.dense, kept, dy, columns)
            d_taps += [more.pop(CONV)] if CONV in more else []
            grads |= more
        if d_taps:
            grads[CONV] = xp.concatenate(d_taps)
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

    def _end(self, x: Array, position: int | Array, found: dict[str, Array | None]) -> State:
        end = {name: value for name, value in found.items() if value is not None}
        if self.turns:
            end["position"] = np.full(x.shape[0], position + x.shape[1], np.int64)
        return end

    def _fixed(self, name: str, x: Array) -> Array:
        start = self.parameters[name].start(np.random.default_rng(0), self.widths[name])
        return like(x, np.asarray(start, x.dtype))

    def _filter(self, params: Params, state: State, z: Array, reach: Array | None) -> Filter | None:
        """The convolution of all convolved columns."""
        if not self.convolved:
            return None
        tail = state.get("tail")
        if tail is None:
            tail = namespace(z).zeros((z.shape[0], self.conv - 1, self.convolved), z.dtype)
        return Filter(params[CONV], tail, reach)

    def _taps(self, slot: Slot, whole: Filter | None) -> Filter | None:
        """Of one input."""
        if whole is None or not self.convolves(slot.name):
            return None
        return Filter(whole.weight[slot.columns], whole.tail[..., slot.columns], whole.reach)


class Saved(NamedTuple):
    """What a projection keeps: of the columns and of each input; and the state."""

    columns: Any
    inputs: dict[str, Any]
    shape: tuple[int, ...]
    end: State


def _begun(position: Array | None) -> int | Array:
    """Tokens before these: one number where all rows are in step, else (B,)."""
    if position is None:
        return 0
    return int(position[0]) if (position == position[0]).all() else position


def _added(first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
    """The sum of both, by name; the entries of either."""
    both = {name: first[name] + x for name, x in second.items() if name in first}
    return {**first, **second, **both}
