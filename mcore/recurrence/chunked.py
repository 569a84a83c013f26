"""Perceptrons that descend, with gradients taken at each token or at the start of each chunk.

    M_t = a_t M_{t-1} - step_t grad l(M_a),   a_t = exp(log_decay_t)

M_a is the memory before the token or, with `chunk` > 1, before the first token of its chunk;
chunks are counted from the segment's start, decay and reads are per token.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Inputs
from mcore.recurrence.mlp_memory import MlpMemory
from mcore.recurrence.perceptron import check_positive
from mcore.recurrence.stack import column, matrices, stacked


@dataclass(frozen=True)
class ChunkedMemory(MlpMemory):
    """A perceptron that descends on the loss of each token, or of each chunk of tokens.

    With chunks, a state also holds the perceptron as it was at the chunk's start.

    Attributes:
        chunk: tokens whose gradients are taken at the same memory; 1 is the exact token rule.
    """

    moving: ClassVar[int] = 1
    """Copies of the perceptron's size that an update changes."""

    chunk: int = field(
        default=1,
        metadata={"description": "Tokens whose gradients are taken at one memory.", "least": 1},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("chunk", self.chunk)

    @property
    def copies(self) -> int:
        """What an update changes; with chunks, the perceptron at the chunk's start."""
        return self.moving + (self.chunk > 1)

    def update(self, state: Array, gradient: Array, x: Inputs) -> Array:
        """`a M - step G`."""
        after: Array = column(np.exp(x["log_decay"])) * state - column(x["step"]) * gradient
        return after

    def update_backward(
        self, state: Array, gradient: Array, x: Inputs, d_after: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """`dM`, `dG = -step dM'`, and `dstep = -<dM', G>`, `da = <dM', M>`."""
        decayed = column(np.exp(x["log_decay"])) * d_after
        d_x = {
            "step": -(d_after * gradient).sum(axis=(-2, -1)),
            "log_decay": (decayed * state).sum(axis=(-2, -1)),
        }
        return decayed, -column(x["step"]) * d_after, d_x

    def step(self, state: Array, x: Inputs) -> Array:
        """The update, with G at the anchor."""
        before, anchor = self._parts(state, x)
        gradient, _ = self.descent(anchor, x)
        after = self.update(before, gradient, x)
        return after if self.chunk == 1 else stacked(after, anchor)

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Back through the update, then through G at the anchor."""
        before, anchor = self._parts(state, x)
        gradient, kept = self.descent(anchor, x)
        d_after, d_kept = self._split(d_state)
        d_before, d_gradient, d_x = self.update_backward(before, gradient, x, d_after)
        d_anchor, d_loss = self.descent_backward(kept, x, d_gradient)
        if self.chunk == 1:
            return d_before + self._padded(d_anchor, self.moving), {**d_x, **d_loss}
        d_anchor, begins = d_anchor + d_kept, self._begins(x)
        xp = namespace(state)
        d_before = d_before + self._padded(xp.where(begins, d_anchor, 0), self.moving)
        return stacked(d_before, xp.where(begins, 0, d_anchor)), {**d_x, **d_loss}

    def _parts(self, state: Array, x: Inputs) -> tuple[Array, Array]:
        """What the update changes, and the perceptron at which the gradient is taken."""
        before, kept = self._split(state)
        width = x["k"].shape[-1]
        weights = stacked(*matrices(before, width))
        if self.chunk == 1:
            return before, weights
        return before, namespace(state).where(self._begins(x), weights, kept)

    def _split(self, state: Array) -> tuple[Array, Array]:
        """What the update changes, and the rest."""
        rows = state.shape[-2] // self.copies * self.moving
        return state[..., :rows, :], state[..., rows:, :]

    def _begins(self, x: Inputs) -> Array:
        """Whether the token is the first of its chunk, to broadcast over states."""
        return column(x["position"] % self.chunk == 0)
