"""Titans' neural memory: a perceptron that descends on its error at each token, with momentum.

    S_t = m_t S_{t-1} - step_t grad l(M_a),   l(M) = 1/2 |M(k_t) - v_t|^2
    M_t = a_t M_{t-1} + S_t,   a_t = exp(log_decay_t)          y_t = M_t(q_t)

M_a is the memory before the token or, with `chunk` > 1, before the first token of its chunk;
chunks are counted from the segment's start. Behrouz et al. 2026, Eq. 34-36, with the signs of
Titans (arXiv:2501.00663, Eq. 13-14): descent.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Gate, Inputs, Law
from mcore.recurrence.mlp_memory import MlpMemory, check_positive, column, stacked


@dataclass(frozen=True)
class Titans(MlpMemory):
    """Descend on a perceptron's squared error, with momentum and decay (Titans).

    `step`, `momentum`, `log_decay` (B, T, H); the perceptron starts at `w_in` (H, K, E), `w_out`
    (H, E, V), the momentum at zero. A state holds the perceptron, its momentum and, with chunks,
    the perceptron at the chunk's start.

    Attributes:
        chunk: tokens whose gradients are taken at the same memory; 1 is the exact token rule.
    """

    kind: ClassVar[str] = "titans"

    chunk: int = field(
        default=1,
        metadata={"description": "Tokens whose gradients are taken at one memory.", "least": 1},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("chunk", self.chunk)

    @property
    def copies(self) -> int:
        """Perceptron and momentum; with chunks, the perceptron at the chunk's start."""
        return 2 if self.chunk == 1 else 3

    @property
    def inputs(self) -> dict[str, str]:
        """As for every perceptron, and each token's momentum."""
        return {**super().inputs, "momentum": "B T H"}

    @property
    def features(self) -> dict[str, Law]:
        """As for every perceptron, with sigmoid momentum."""
        return {**super().features, "momentum": Gate("sigmoid")}

    def error(self, answer: Array, x: Inputs) -> Array:
        """`r = M(k) - v`."""
        difference: Array = answer - x["v"]
        return difference

    def error_backward(
        self, answer: Array, x: Inputs, d_error: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`do = dr`, `dv = -dr`."""
        return d_error, {"v": -d_error}

    def step(self, state: Array, x: Inputs) -> Array:
        """`S <- m S - step G`, `M <- a M + S`, with G at the anchor."""
        weights, momentum, anchor = self._parts(state, x)
        gradient, _ = self.descent(anchor, x)
        momentum = column(x["momentum"]) * momentum - column(x["step"]) * gradient
        weights = column(np.exp(x["log_decay"])) * weights + momentum
        return stacked(weights, momentum, *([anchor] if self.chunk > 1 else []))

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`dS += dM`, `dG = -step dS`, `dm = <dS, S>`, `da = <dM, M>`; then back through G."""
        weights, momentum, anchor = self._parts(state, x)
        gradient, kept = self.descent(anchor, x)
        d_weights, d_momentum, *d_kept = self._split(d_state)
        d_momentum = d_momentum + d_weights
        d_weights = column(np.exp(x["log_decay"])) * d_weights
        d_anchor, d_x = self.descent_backward(kept, x, -column(x["step"]) * d_momentum)
        d_x["step"] = -(d_momentum * gradient).sum(axis=(-2, -1))
        d_x["momentum"] = (d_momentum * momentum).sum(axis=(-2, -1))
        d_x["log_decay"] = (d_weights * weights).sum(axis=(-2, -1))
        d_momentum = column(x["momentum"]) * d_momentum
        if self.chunk == 1:
            return stacked(d_weights + d_anchor, d_momentum), d_x
        d_anchor, begins = d_anchor + d_kept[0], self._begins(x)
        xp = namespace(state)
        d_weights = d_weights + xp.where(begins, d_anchor, 0)
        return stacked(d_weights, d_momentum, xp.where(begins, 0, d_anchor)), d_x

    def _parts(self, state: Array, x: Inputs) -> tuple[Array, Array, Array]:
        """Perceptron, momentum, and the perceptron at which the gradient is taken."""
        weights, momentum, *kept = self._split(state)
        if not kept:
            return weights, momentum, weights
        return weights, momentum, namespace(state).where(self._begins(x), weights, kept[0])

    def _split(self, state: Array) -> list[Array]:
        rows = state.shape[-2] // self.copies
        return [state[..., i * rows : (i + 1) * rows, :] for i in range(self.copies)]

    def _begins(self, x: Inputs) -> Array:
        """Whether the token is the first of its chunk, to broadcast over states."""
        return column(x["position"] % self.chunk == 0)
