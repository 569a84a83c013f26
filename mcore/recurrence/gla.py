"""Additive memory in which every key channel decays at its own, data-dependent rate (GLA).

    S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T          y_t = S_t^T q_t

Yang et al. 2024, Gated Linear Attention (arXiv:2312.06635).
"""

from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.laws import Feature, Gate, Law
from mcore.recurrence.matrix import MatrixMemory, outer, times, transposed_times


class Gla(MatrixMemory):
    """Add k v^T to a memory whose key channels decay by rates computed from each token (GLA).

    `log_decay` (B, T, H, K) is at most 0.
    """

    kind: ClassVar[str] = "gla"

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v and the decays of each token."""
        return {**super().inputs, "log_decay": "B T H K"}

    @property
    def features(self) -> dict[str, Law]:
        """Plain q, k, v and slow decays: `logsigmoid(x W_1 W_2 + b) / 16`, rank 16."""
        return {
            "q": Feature(silu=False, scale=True),
            "k": Feature(silu=False),
            "v": Feature(silu=False),
            "log_decay": Gate("slow_decay", rank=16, bias=zeros),
        }

    def step(self, state: Array, x: Inputs) -> Array:
        """`diag(a) S + k v^T` with `a = exp(log_decay)`."""
        return np.exp(x["log_decay"])[..., None] * state + outer(x["k"], x["v"])

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`dS <- diag(a) dS`, `dk = dS v`, `dv = dS^T k`, `dlog_decay = a (dS * S) 1`."""
        decayed = np.exp(x["log_decay"])[..., None] * d_state
        return decayed, {
            "k": times(d_state, x["v"]),
            "v": transposed_times(d_state, x["k"]),
            "log_decay": (decayed * state).sum(axis=-1),
        }


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A bias of 0: the decay starts near exp(-log(2) / 16) = 0.96 for every channel."""
    return np.zeros(shape)
