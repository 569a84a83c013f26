"""Memora: a perceptron whose weights are probabilities, kept near the last ones (KL retention).

    A_t = a_t A_{t-1} - step_t grad l(W_{t-1}),   l(W) = 1/2 |W(k_t) - v_t|^2,   W_t = softmax(A_t)
    a_t = exp(log_decay_t)          y_t = W_t(q_t)

The softmax runs along the input axis of each matrix. Miras (Behrouz et al. 2025,
arXiv:2504.13173): `W_t = softmax(a log W_{t-1} - step grad)`, which is the same, since a constant
added to A changes nothing.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Law, Parameter
from mcore.recurrence.mirror import MirrorMemory


@dataclass(frozen=True)
class Memora(MirrorMemory):
    """Descend on the logits of a perceptron whose weights are probabilities (Memora).

    `step`, `log_decay` (B, T, H); the logits start at `w_in` (H, K, E), `w_out` (H, E, V).
    """

    kind: ClassVar[str] = "memora"

    @property
    def features(self) -> dict[str, Law]:
        """As for every perceptron, from logits of order one."""
        start = Parameter(_logits)
        return {**super().features, "w_in": start, "w_out": start}

    def image(self, source: Array, axis: int) -> Array:
        """`softmax(A)` along the inputs."""
        xp = namespace(source)
        weights = xp.exp(source - source.max(axis=axis, keepdims=True))
        image: Array = weights / weights.sum(axis=axis, keepdims=True)
        return image

    def image_backward(self, source: Array, axis: int, d_image: Array) -> Array:
        """`dA = W (dW - <W, dW>)`."""
        image = self.image(source, axis)
        mean = (image * d_image).sum(axis=axis, keepdims=True)
        d_source: Array = image * (d_image - mean)
        return d_source


def _logits(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers."""
    return rng.standard_normal(shape)
