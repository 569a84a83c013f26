"""Several parts side by side: a memory beside attention."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.model.part import Params, Part, Shapes, State, merged, prefixed, scoped


@dataclass(frozen=True)
class Parallel:
    """The sum of several parts that see the same input: memory beside attention."""

    parts: dict[str, Part]

    @property
    def names_rows(self) -> bool:
        """If one of the parts does."""
        return any(part.names_rows for part in self.parts.values())

    def shapes(self) -> Shapes:
        """Each part's below its name."""
        return merged(prefixed(name, part.shapes()) for name, part in self.parts.items())

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Each part's own."""
        return merged(prefixed(name, part.init(rng, dtype)) for name, part in self.parts.items())

    def forward(self, params: Params, x: Array, state: State) -> tuple[Array, Any]:
        """y (B, T, D)."""
        made = {
            name: part.forward(scoped(params, name), x, scoped(state, name))
            for name, part in self.parts.items()
        }
        y = np.sum([y for y, _ in made.values()], axis=0)
        return y, {name: saved for name, (_, saved) in made.items()}

    def backward(self, saved: Any, dy: Array) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        back = {name: part.backward(saved[name], dy) for name, part in self.parts.items()}
        dx = np.sum([dx for dx, _ in back.values()], axis=0)
        return dx, merged(prefixed(name, grads) for name, (_, grads) in back.items())

    def end(self, saved: Any) -> State:
        """Each part's below its name."""
        return merged(prefixed(n, part.end(saved[n])) for n, part in self.parts.items())

    def flops(self, tokens: int) -> float:
        """The sum."""
        return sum(part.flops(tokens) for part in self.parts.values())

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """The sum."""
        return sum(part.state_bytes(tokens, itemsize) for part in self.parts.values())
