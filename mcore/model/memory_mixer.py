"""A token mixer whose core is a memory: project, remember, norm, gate, project back.

y = (rms_norm(memory(q, k, v, ...)) * silu(x W_g)) W_o, or what the rule's `finish` says
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.cache import MemoryState
from mcore.layers.dense import dense_of
from mcore.layers.init import fan_in
from mcore.layers.linear import linear, linear_backward
from mcore.layers.product import in_dtype
from mcore.memory_layer import Memory
from mcore.model.cost import MemoryCost
from mcore.model.finish import Finish
from mcore.model.part import (
    DOCUMENT,
    LIVE,
    STREAM,
    Params,
    Shapes,
    State,
    merged,
    prefixed,
    scoped,
)
from mcore.model.projection import Projection
from mcore.model.sizes import Sizes
from mcore.recurrence import Feature, Gate, Law
from mcore.stream import Stream

MEMORY = "memory"
"""Scope of the arrays of a memory's state."""

GATES = ("gate", "times")
"""Stages of `finish` that use the input z."""

OWN = {"z": "B T H V", "skip": "B T H V", "value": "B T H V", "key": "B T H K"}
"""Axes of inputs that the layer makes for itself, not for its memory."""


@dataclass(frozen=True)
class MemoryMixer:
    """Mixes tokens through a memory.

    Attributes:
        memory: the composition recurrence x segmentation x readout.
        sizes: widths and heads.
        out_gain: scale of the last projection at the start.
    """

    memory: Memory
    sizes: Sizes
    out_gain: float

    @cached_property
    def projection(self) -> Projection:
        """What makes the memory's inputs, the output gate `z`, and what goes past the memory."""
        features: dict[str, Law] = dict(self.memory.rule.features)
        plain = Feature(conv=False, silu=False)
        for name, law in self.memory.readout.features.items():
            features.setdefault(name, law)
        q, u = features.get("q"), features.get("u")
        if isinstance(q, Feature) and isinstance(u, Feature):
            features["u"] = replace(u, rotary=q.rotary)
        if self.sizes.output_gate:
            features.setdefault("z", plain)
        else:
            features.pop("z", None)
        widths = {name: self._width(name) for name in features}
        lengths = self.memory.rule.sizes(self.sizes.key, self.sizes.value)
        for name, law in features.items():
            features[name] = law.sized(lengths) if isinstance(law, Gate) else law
        dense, sizes = dense_of(self.memory.backend), self.sizes
        return Projection(features, widths, sizes.width, sizes.heads, sizes.conv, dense)

    @cached_property
    def finish(self) -> Finish:
        """What comes between the readout and the last projection."""
        order = self.memory.rule.finish
        if not self.sizes.output_gate:
            order = tuple(stage for stage in order if stage not in GATES)
        return Finish(order, self.sizes.heads, self.sizes.value, dense_of(self.memory.backend))

    @property
    def names_rows(self) -> bool:
        """If the segmentation lists the cuts of each row."""
        return self.memory.segmentation.names_rows

    def shapes(self) -> Shapes:
        """The projection's, `norm.weight` and `out.weight` (H V, D)."""
        inner = self.sizes.heads * self.sizes.value
        return {
            **self.projection.shapes(),
            **self.finish.shapes(),
            "out.weight": (inner, self.sizes.width),
        }

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values."""
        params = self.projection.init(rng, dtype)
        params |= self.finish.init(dtype)
        params["out.weight"] = fan_in(rng, self.shapes()["out.weight"], dtype, self.out_gain)
        return params

    def forward(self, params: Params, x: Array, state: State) -> tuple[Array, Any]:
        """y (B, T, D)."""
        inputs, project_saved = self.projection.forward(params, x, state)
        declared = {name: inputs[name] for name in self.memory.inputs}
        h, memory_saved = self._remember(declared, state)
        h, finish_saved = self.finish.forward(h, inputs, params)
        flat = in_dtype(h.reshape(*h.shape[:2], -1), x.dtype.name)
        y, out_saved = linear(flat, params["out.weight"])
        return y, (project_saved, memory_saved, finish_saved, out_saved)

    def backward(self, saved: Any, dy: Array) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        project_saved, memory_saved, finish_saved, out_saved = saved
        grads: Params = {}
        dh, grads["out.weight"] = linear_backward(out_saved, dy)
        dh = in_dtype(dh, self.memory.dtype)
        dh = dh.reshape(*dh.shape[:2], self.sizes.heads, self.sizes.value)
        dh, d_own, finished = self.finish.backward(finish_saved, dh)
        d_inputs = {**self.memory.backward(memory_saved, dh), **d_own}
        dx, projected = self.projection.backward(project_saved, d_inputs)
        return dx, merged([grads, finished, projected])

    def end(self, saved: Any) -> State:
        """Convolution tail and memory state."""
        own = self.projection.end(saved[0])
        if isinstance(saved[1], Stream):
            return {**own, STREAM: saved[1]}  # type: ignore[dict-item]
        return {**own, **memory_arrays(saved[1].end)}

    def flops(self, tokens: int) -> float:
        """Projections and memory."""
        dense = sum(2.0 * prod(s) for s in self.shapes().values() if len(s) == 2)
        return dense + self.sizes.heads * self.cost.flops(tokens)

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """Convolution tail, online memory, checkpoints and contexts."""
        tail = self.projection.carried
        return itemsize * tail + self.sizes.heads * self.cost.state_bytes(tokens, itemsize)

    @property
    def cost(self) -> MemoryCost:
        """FLOPs and sizes of one head's memory."""
        return MemoryCost(self.memory, self.sizes.key, self.sizes.value)

    def _remember(self, inputs: dict[str, Array], state: State) -> tuple[Array, Any]:
        """The memory's answers, and what `backward` and `end` need: a live one has no backward."""
        if LIVE not in state:
            return self.memory.forward(inputs, self._load(state), document=state.get(DOCUMENT))
        stream: Any = state.get(STREAM)
        if stream is None:
            stream = self.memory.stream(self._load(state))
        return stream.feed(inputs), stream

    def _width(self, name: str) -> tuple[int, ...]:
        """Lengths of an input's axes without B, T and, for tokens, H."""
        lengths = self.memory.rule.sizes(self.sizes.key, self.sizes.value)
        axes = (OWN | self.memory.inputs)[name].split()
        tokens = axes[:3] == ["B", "T", "H"]
        lengths["H"] = self.sizes.heads
        return tuple(
            prod(lengths[letter] for letter in axis.split("*")) for axis in axes[3 * tokens :]
        )

    def _load(self, state: State) -> MemoryState | None:
        arrays = scoped(state, MEMORY)
        return MemoryState(**arrays, origin=self.memory.origin) if arrays else None


def memory_arrays(state: MemoryState) -> State:
    """The arrays of a memory's state, by name."""
    return prefixed(MEMORY, {name: x for name, x in vars(state).items() if name != "origin"})
