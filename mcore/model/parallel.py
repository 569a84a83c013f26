"""Several parts side by side that see the same input: a memory beside attention.

sum    y = sum of the parts' answers
gate   y = s first + (1 - s) second,   s = sigmoid(x W + b), per token and channel
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.arrays import Array, namespace
from mcore.layers.gated import blend, blend_backward
from mcore.layers.linear import linear, linear_backward
from mcore.layers.product import in_dtype
from mcore.model.part import Params, Part, Shapes, State, below, merged, prefixed, scoped

NAME = "join"


@dataclass(frozen=True)
class Join:
    """Weighs two answers against each other by a gate of their input; even at the start."""

    width: int

    def shapes(self) -> Shapes:
        """`join.weight` (D, D) and `join.bias` (D,)."""
        return {f"{NAME}.weight": (self.width, self.width), f"{NAME}.bias": (self.width,)}

    def init(self, dtype: str) -> Params:
        """Zeros."""
        return {name: np.zeros(shape, dtype) for name, shape in self.shapes().items()}

    def forward(self, params: Params, x: Array, answers: list[Array]) -> tuple[Array, Any]:
        """y (B, T, D) of two answers (B, T, D) to x (B, T, D)."""
        weight = params[f"{NAME}.weight"]
        z, linear_saved = linear(x, weight, weight.dtype.name)
        first, second = (in_dtype(answer, weight.dtype.name) for answer in answers)
        y, blend_saved = blend(first, second, z + params[f"{NAME}.bias"])
        return in_dtype(y, x.dtype.name), (linear_saved, blend_saved)

    def backward(self, saved: Any, dy: Array) -> tuple[Array, list[Array], Params]:
        """Gradients with respect to x, to the answers, and to the parameters."""
        linear_saved, blend_saved = saved
        *d_answers, dz = blend_backward(blend_saved, in_dtype(dy, linear_saved[2]))
        dx, d_weight = linear_backward(linear_saved, dz)
        d_answers = [in_dtype(d_answer, dx.dtype.name) for d_answer in d_answers]
        return dx, d_answers, {f"{NAME}.weight": d_weight, f"{NAME}.bias": dz.sum((0, 1))}


@dataclass(frozen=True)
class Parallel:
    """Parts that see the same input, and one answer.

    Attributes:
        parts: by name.
        join: weighs two parts; None to add all up.
    """

    parts: dict[str, Part]
    join: Join | None = None

    @property
    def names_rows(self) -> bool:
        """If one of the parts does."""
        return any(part.names_rows for part in self.parts.values())

    def shapes(self) -> Shapes:
        """Each part's below its name, and the gate's."""
        own = self.join.shapes() if self.join else {}
        return merged([*(prefixed(n, part.shapes()) for n, part in self.parts.items()), own])

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Each part's own."""
        own = self.join.init(dtype) if self.join else {}
        return merged(
            [*(prefixed(n, part.init(rng, dtype)) for n, part in self.parts.items()), own]
        )

    def forward(self, params: Params, x: Array, state: State) -> tuple[Array, Any]:
        """y (B, T, D)."""
        made = {
            name: part.forward(scoped(params, name), x, below(state, name))
            for name, part in self.parts.items()
        }
        answers, saved = [y for y, _ in made.values()], {n: kept for n, (_, kept) in made.items()}
        if self.join is None:
            return sum(answers[1:], answers[0]), (saved, None)
        y, join_saved = self.join.forward(params, x, answers)
        return y, (saved, join_saved)

    def backward(self, saved: Any, dy: Array) -> tuple[Array, Params]:
        """Gradients with respect to x and the parameters."""
        kept, join_saved = saved
        dx, d_answers, own = namespace(dy).zeros_like(dy), [dy] * len(self.parts), Params()
        if self.join is not None:
            dx, d_answers, own = self.join.backward(join_saved, dy)
        grads = [own]
        for (name, part), d_answer in zip(self.parts.items(), d_answers, strict=True):
            d_input, found = part.backward(kept[name], d_answer)
            dx, grads = dx + d_input, [*grads, prefixed(name, found)]
        return dx, merged(grads)

    def end(self, saved: Any) -> State:
        """Each part's below its name."""
        kept, _ = saved
        return merged(prefixed(n, part.end(kept[n])) for n, part in self.parts.items())

    def flops(self, tokens: int) -> float:
        """The sum, and the gate's product."""
        own = 2.0 * self.join.width**2 if self.join else 0.0
        return own + sum(part.flops(tokens) for part in self.parts.values())

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """The sum."""
        return sum(part.state_bytes(tokens, itemsize) for part in self.parts.values())
