"""Titans' neural memory: a perceptron that descends on its error at each token, with momentum.

    S_t = m_t S_{t-1} - step_t grad l(M_a),   l(M) = 1/2 |M(k_t) - v_t|^2
    M_t = a_t M_{t-1} + S_t,   a_t = exp(log_decay_t)          y_t = M_t(q_t)

M_a is the memory before the token or, with `chunk` > 1, before the first token of its chunk
(`chunked.py`). Behrouz et al. 2026, Eq. 34-36, with the signs of Titans (arXiv:2501.00663,
Eq. 13-14): descent.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.recurrence import perceptron_laws
from mcore.recurrence.base import Inputs
from mcore.recurrence.chunked import ChunkedMemory
from mcore.recurrence.laws import Gate, Law
from mcore.recurrence.stack import column, stacked


@dataclass(frozen=True)
class Titans(ChunkedMemory):
    """Descend on a perceptron's squared error, with momentum and decay (Titans).

    `step`, `momentum`, `log_decay` (B, T, H); the perceptron starts at `w_in` (H, K, E), `w_out`
    (H, E, V), the momentum at zero. A state holds the perceptron, its momentum and, with chunks,
    the perceptron at the chunk's start.
    """

    kind: ClassVar[str] = "titans"
    moving: ClassVar[int] = 2

    @property
    def inputs(self) -> dict[str, str]:
        """As for every perceptron, and each token's momentum."""
        return {**super().inputs, "momentum": "B T H"}

    @property
    def features(self) -> dict[str, Law]:
        """As for every perceptron, with sigmoid momentum near 0.73 and smaller steps."""
        return {
            **super().features,
            "step": Gate("sigmoid", largest=LARGEST_STEP, over="E"),
            "momentum": Gate("sigmoid", bias=lasting),
        }

    def error(self, answer: Array, x: Inputs) -> Array:
        """`r = M(k) - v`."""
        difference: Array = answer - x["v"]
        return difference

    def error_backward(
        self, answer: Array, x: Inputs, d_error: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`do = dr`, `dv = -dr`."""
        return d_error, {"v": -d_error}

    def update(self, state: Array, gradient: Array, x: Inputs) -> Array:
        """`S <- m S - step G`, `M <- a M + S`."""
        weights, momentum = _halves(state)
        momentum = column(x["momentum"]) * momentum - column(x["step"]) * gradient
        weights = column(np.exp(x["log_decay"])) * weights + momentum
        return stacked(weights, momentum)

    def update_backward(
        self, state: Array, gradient: Array, x: Inputs, d_after: Array
    ) -> tuple[Array, Array, dict[str, Array]]:
        """`dS += dM`, `dG = -step dS`, `dm = <dS, S>`, `da = <dM, M>`."""
        weights, momentum = _halves(state)
        d_weights, d_momentum = _halves(d_after)
        d_momentum = d_momentum + d_weights
        d_weights = column(np.exp(x["log_decay"])) * d_weights
        d_x = {
            "step": -(d_momentum * gradient).sum(axis=(-2, -1)),
            "momentum": (d_momentum * momentum).sum(axis=(-2, -1)),
            "log_decay": (d_weights * weights).sum(axis=(-2, -1)),
        }
        d_before = stacked(d_weights, column(x["momentum"]) * d_momentum)
        return d_before, -column(x["step"]) * d_momentum, d_x


LARGEST_STEP = perceptron_laws.LARGEST_STEP / 4
"""Of a layer, times E: with a momentum of 0.73 a step adds up to 3.7 times itself."""


def lasting(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One: `sigmoid(1) = 0.73`, so that a token is written over the three or four that follow.

    In all it corrects 0.8 of its error, as a token of other perceptrons does at once.
    """
    return np.ones(shape)


def _halves(state: Array) -> tuple[Array, Array]:
    """The perceptron and its momentum."""
    rows = state.shape[-2] // 2
    return state[..., :rows, :], state[..., rows:, :]
