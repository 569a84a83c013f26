"""A block: what mixes tokens, then what works on each token, each behind a norm and a residual.

x <- x + mixer(rms_norm(x));   x <- x + mlp(rms_norm(x))
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.layers.dense import PLAIN, Dense
from mcore.layers.init import fan_in
from mcore.model.part import Params, Part, Shapes, State


@dataclass(frozen=True)
class Mlp:
    """SwiGLU with inner width `hidden`: `(silu(x W_gate) * (x W_up)) W_down`."""

    width: int
    hidden: int
    out_gain: float
    dense: Dense = PLAIN

    @property
    def names_rows(self) -> bool:
        """No."""
        return False

    def shapes(self) -> Shapes:
        """`gate.weight`, `up.weight` (D, hidden) and `down.weight` (hidden, D)."""
        wide, narrow = (self.width, self.hidden), (self.hidden, self.width)
        return {"gate.weight": wide, "up.weight": wide, "down.weight": narrow}

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Fan-in scaled."""
        gains = {"down.weight": self.out_gain}
        return {n: fan_in(rng, s, dtype, gains.get(n, 1.0)) for n, s in self.shapes().items()}

    def forward(self, params: Params, x: Array, state: State) -> tuple[Array, Any]:
        """y (B, T, D)."""
        weights = (params[name] for name in self.shapes())
        return self.dense.swiglu.forward(x, *weights)

    def backward(self, saved: Any, dy: Array) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        dx, *grads = self.dense.swiglu.backward(saved, dy)
        return dx, dict(zip(self.shapes(), grads, strict=True))

    def end(self, saved: Any) -> State:
        """Nothing is carried."""
        return {}

    def flops(self, tokens: int) -> float:
        """Three products."""
        return 6.0 * self.width * self.hidden

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """0."""
        return 0


@dataclass(frozen=True)
class Residual:
    """`x + part(rms_norm(x))`."""

    part: Part
    width: int
    dense: Dense = PLAIN

    @property
    def names_rows(self) -> bool:
        """If the part does."""
        return self.part.names_rows

    def shapes(self) -> Shapes:
        """`pre.weight` (D,), the norm before the part, and the part's."""
        return {"pre.weight": (self.width,), **self.part.shapes()}

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Unit norm weights and the part's own."""
        inner = self.part.init(rng, dtype)
        return {"pre.weight": np.ones(self.width, dtype), **inner}

    def forward(self, params: Params, x: Array, state: State) -> tuple[Array, Any]:
        """y (B, T, D)."""
        h, norm_saved = self.dense.rms_norm.forward(x, params["pre.weight"])
        y, part_saved = self.part.forward(params, h, state)
        return x + y, (norm_saved, part_saved)

    def backward(self, saved: Any, dy: Array) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        norm_saved, part_saved = saved
        dh, grads = self.part.backward(part_saved, dy)
        dx, grads["pre.weight"] = self.dense.rms_norm.backward(norm_saved, dh, dy)
        return dx, grads

    def end(self, saved: Any) -> State:
        """The part's."""
        return self.part.end(saved[1])

    def flops(self, tokens: int) -> float:
        """The part's."""
        return self.part.flops(tokens)

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """The part's."""
        return self.part.state_bytes(tokens, itemsize)
