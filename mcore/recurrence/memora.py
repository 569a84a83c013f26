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
from mcore.recurrence.laws import Feature, Gate, Law, Parameter
from mcore.recurrence.mirror import MirrorMemory, even, lasting


@dataclass(frozen=True)
class Memora(MirrorMemory):
    """Descend on the logits of a perceptron whose weights are probabilities (Memora).

    `step`, `log_decay` (B, T, H); the logits start at `w_in` (H, K, E), `w_out` (H, E, V).
    """

    kind: ClassVar[str] = "memora"

    @property
    def features(self) -> dict[str, Law]:
        """As for every perceptron, with unit values, and steps and a start of its own."""
        return {
            **super().features,
            "v": Feature(unit=True),
            "step": Gate("sigmoid", bias=even, largest=LARGEST_STEP),
            "log_decay": Gate("slow_decay", bias=lasting),
            "w_in": Parameter(_choices),
            "w_out": Parameter(_nearly_even),
        }

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


LARGEST_STEP = 30.0
"""Of a layer. Hidden units of a unit key are about 0.15 and the error's channels 0.35, so that half
of this moves a logit by a little less than one. A step far larger would put most probability on
the last token's hidden units, and so forget the tokens before."""


def _choices(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal numbers of standard deviation 4: most of a hidden unit's weight is on one channel.

    Probabilities are positive: with even ones all hidden units would be the key's mean.
    """
    return 4.0 * rng.standard_normal(shape)


def _nearly_even(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal numbers of standard deviation 0.3: logits that are all free to move either way."""
    return 0.3 * rng.standard_normal(shape)
