"""Additive memory with a data-dependent scalar decay (Mamba-2/SSD; simple GLA).

    S_t = exp(log_decay_t) S_{t-1} + k_t v_t^T          y_t = S_t^T q_t

Dao and Gu 2024 (arXiv:2405.21060): q = C, k = B, v = dt x.
"""

from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.laws import Gate, Law
from mcore.recurrence.matrix import MatrixMemory, outer, times, transposed_times


class GatedLinear(MatrixMemory):
    """Add k v^T to a memory that decays by a rate computed from each token (Mamba-2).

    `log_decay` (B, T, H) is at most 0.
    """

    kind: ClassVar[str] = "gated_linear"

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v and the decay of each token."""
        return {**super().inputs, "log_decay": "B T H"}

    @property
    def features(self) -> dict[str, Law]:
        """As for the base, with a softplus decay."""
        return {**super().features, "log_decay": Gate("decay")}

    def step(self, state: Array, x: Inputs) -> Array:
        """`a S + k v^T` with `a = exp(log_decay)`."""
        return _column(np.exp(x["log_decay"])) * state + outer(x["k"], x["v"])

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`dS <- a dS`, `dk = dS v`, `dv = dS^T k`, `dlog_decay = a <dS, S>`."""
        decayed = _column(np.exp(x["log_decay"])) * d_state
        return decayed, {
            "k": times(d_state, x["v"]),
            "v": transposed_times(d_state, x["k"]),
            "log_decay": (decayed * state).sum(axis=(-2, -1)),
        }


def _column(x: Array) -> Array:
    return x[..., None, None]
