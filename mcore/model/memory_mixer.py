"""A token mixer whose core is a memory: project, remember, norm, gate, project back.

y = (rms_norm(memory(q, k, v, ...)) * silu(x W_g)) W_o
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.cache import MemoryState
from mcore.layers.gated_norm import gated_rms_norm, gated_rms_norm_backward
from mcore.layers.init import fan_in
from mcore.layers.linear import linear, linear_backward
from mcore.layers.norm import rms_norm, rms_norm_backward
from mcore.memory_layer import Memory
from mcore.model.cost import MemoryCost
from mcore.model.part import Params, Shapes, State, merged, prefixed, scoped
from mcore.model.projection import Projection
from mcore.model.sizes import Sizes
from mcore.recurrence import Feature, Law


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
        """What makes the memory's inputs, and the output gate `z`."""
        features: dict[str, Law] = dict(self.memory.rule.features)
        plain = Feature(conv=False, silu=False)
        if self.memory.readout.router is not None:
            features["u"] = plain
            features.setdefault("k", Feature(silu=False))
        if self.sizes.output_gate:
            features["z"] = plain
        widths = {name: self._width(name) for name in features}
        return Projection(features, widths, self.sizes.width, self.sizes.heads, self.sizes.conv)

    @property
    def names_rows(self) -> bool:
        """If the segmentation lists the cuts of each row."""
        return self.memory.segmentation.names_rows

    def shapes(self) -> Shapes:
        """The projection's, `norm.weight` (V,) and `out.weight` (H V, D)."""
        inner = self.sizes.heads * self.sizes.value
        return {
            **self.projection.shapes(),
            "norm.weight": (self.sizes.value,),
            "out.weight": (inner, self.sizes.width),
        }

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values."""
        params = self.projection.init(rng, dtype)
        params["norm.weight"] = np.ones(self.sizes.value, dtype)
        params["out.weight"] = fan_in(rng, self.shapes()["out.weight"], dtype, self.out_gain)
        return params

    def forward(self, params: Params, x: Array, state: State) -> tuple[Array, Any]:
        """y (B, T, D)."""
        inputs, project_saved = self.projection.forward(params, x, state)
        gate = inputs.pop("z", None)
        h, memory_saved = self.memory.forward(inputs, self._load(state))
        norm_saved: Any
        if gate is None:
            h, norm_saved = rms_norm(h, params["norm.weight"])
        else:
            h, norm_saved = gated_rms_norm(h, gate, params["norm.weight"])
        y, out_saved = linear(h.reshape(*h.shape[:2], -1), params["out.weight"])
        return y, (project_saved, memory_saved, norm_saved, out_saved)

    def backward(self, saved: Any, dy: Array) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        project_saved, memory_saved, norm_saved, out_saved = saved
        grads: Params = {}
        dh, grads["out.weight"] = linear_backward(out_saved, dy)
        dh = dh.reshape(*dh.shape[:2], self.sizes.heads, self.sizes.value)
        d_gate = None
        if self.sizes.output_gate:
            dh, d_gate, grads["norm.weight"] = gated_rms_norm_backward(norm_saved, dh)
        else:
            dh, grads["norm.weight"] = rms_norm_backward(norm_saved, dh)
        d_inputs = self.memory.backward(memory_saved, dh)
        if d_gate is not None:
            d_inputs["z"] = d_gate
        dx, projected = self.projection.backward(project_saved, d_inputs)
        return dx, merged([grads, projected])

    def end(self, saved: Any) -> State:
        """Convolution tail and memory state."""
        state = saved[1].end
        arrays = {name: x for name, x in vars(state).items() if name != "origin"}
        return {**self.projection.end(saved[0]), **prefixed("memory", arrays)}

    def flops(self, tokens: int) -> float:
        """Projections and memory."""
        dense = sum(2.0 * np.prod(s) for s in self.shapes().values() if len(s) == 2)
        return dense + self.sizes.heads * self.cost.flops(tokens)

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """Convolution tail, online memory, checkpoints and contexts."""
        tail = max(self.sizes.conv - 1, 0) * self.projection.convolved
        return itemsize * (tail + self.sizes.heads * self.cost.numbers(tokens))

    @property
    def cost(self) -> MemoryCost:
        """FLOPs and sizes of one head's memory."""
        return MemoryCost(self.memory, self.sizes.key, self.sizes.value)

    def _width(self, name: str) -> tuple[int, ...]:
        """Lengths of an input's axes without B, T and, for tokens, H."""
        if name == "z":
            return (self.sizes.value,)
        lengths = self.memory.rule.sizes(self.sizes.key, self.sizes.value)
        axes = self.memory.inputs[name].split()
        tokens = axes[:3] == ["B", "T", "H"]
        lengths["H"] = self.sizes.heads
        return tuple(
            prod(lengths[letter] for letter in axis.split("*")) for axis in axes[3 * tokens :]
        )

    def _load(self, state: State) -> MemoryState | None:
        arrays = scoped(state, "memory")
        return MemoryState(**arrays, origin=self.memory.origin) if arrays else None
