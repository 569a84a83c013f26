"""Gated delta rule: the memory decays, then a token writes the error of its value.

    e_t = v_t - a_t S_{t-1}^T k_t,   a_t = exp(log_decay_t)
    S_t = a_t S_{t-1} + beta_t k_t e_t^T          y_t = S_t^T q_t

Yang et al. 2024, Gated DeltaNet (arXiv:2412.06464). With unit keys and beta <= 1 the transition is
a contraction.
"""

from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.laws import Feature, Gate, Law
from mcore.recurrence.matrix import MatrixMemory, outer, times, transposed_times


class GatedDelta(MatrixMemory):
    """Replace what a key recalls, in a memory that decays by a rate computed from each token.

    `log_decay`, `beta` (B, T, H).
    """

    kind: ClassVar[str] = "gated_delta"
    corrects: ClassVar[bool] = True

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v, the decay and the write strength of each token."""
        return {**super().inputs, "log_decay": "B T H", "beta": "B T H"}

    @property
    def features(self) -> dict[str, Law]:
        """Unit queries and keys, sigmoid write strength, softplus decay."""
        return {
            "q": Feature(unit=True, scale=True),
            "k": Feature(unit=True),
            "v": Feature(),
            "log_decay": Gate("decay"),
            "beta": Gate("sigmoid"),
        }

    def step(self, state: Array, x: Inputs) -> Array:
        """Decay, error, write."""
        decayed = np.exp(x["log_decay"])[..., None, None] * state
        error = x["v"] - transposed_times(decayed, x["k"])
        return decayed + outer(x["beta"][..., None] * x["k"], error)

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The lines of `step` backwards."""
        decay, beta, k = np.exp(x["log_decay"]), x["beta"][..., None], x["k"]
        decayed = decay[..., None, None] * state
        error = x["v"] - transposed_times(decayed, k)
        written = times(d_state, error)
        d_error = beta * transposed_times(d_state, k)
        d_decayed = d_state - outer(k, d_error)
        return decay[..., None, None] * d_decayed, {
            "k": beta * written - times(decayed, d_error),
            "v": d_error,
            "beta": (k * written).sum(axis=-1),
            "log_decay": (d_decayed * decayed).sum(axis=(-2, -1)),
        }
