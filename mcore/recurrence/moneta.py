"""Moneta: a perceptron that descends on the cubed error, its weights held by their 4-norm.

    A_t = a_t A_{t-1} - step_t grad l(W_{t-1}),   l(W) = |W(k_t) - v_t|_3^3
    W_t = A_t |A_t|^2 / |A_t|_4^2 for each matrix,   a_t = exp(log_decay_t)          y_t = W_t(q_t)

Miras (Behrouz et al. 2025, arXiv:2504.13173) with p = 3 and q = 4. W is the mirror map of the
squared 4-norm; the paper's `A / |A|_4^2` would amplify rounding without bound.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Gate, Inputs, Law
from mcore.recurrence.mirror import MirrorMemory


@dataclass(frozen=True)
class Moneta(MirrorMemory):
    """Descend on a perceptron's cubed error, with weights mirrored by their 4-norm (Moneta).

    `step`, `log_decay` (B, T, H); A starts at `w_in` (H, K, E), `w_out` (H, E, V).
    """

    kind: ClassVar[str] = "moneta"

    @property
    def features(self) -> dict[str, Law]:
        """As for every perceptron; the cubed error pulls three times as hard and more."""
        return {**super().features, "step": Gate("sigmoid", largest=LARGEST_STEP)}

    def error(self, answer: Array, x: Inputs) -> Array:
        """`r = 3 e |e|` with e = M(k) - v."""
        error = super().error(answer, x)
        force: Array = 3 * error * np.abs(error)
        return force

    def error_backward(
        self, answer: Array, x: Inputs, d_error: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`de = 6 |e| dr`."""
        steepness = 6 * np.abs(super().error(answer, x))
        return super().error_backward(answer, x, steepness * d_error)

    def image(self, source: Array, axis: int) -> Array:
        """`A^3 / sqrt(sum A^4)`."""
        unit, norm = _unit(source)
        image: Array = source * unit**2 / norm
        return image

    def image_backward(self, source: Array, axis: int, d_image: Array) -> Array:
        """With n = sqrt(sum A^4): `dA = 3 A^2 dW / n - 2 A^3 <dW, A^3> / n^3`."""
        unit, norm = _unit(source)
        along = (d_image * unit**3).sum(axis=(-2, -1), keepdims=True) / norm**2
        d_source: Array = (3 * unit**2 * d_image - 2 * unit**3 * along) / norm
        return d_source


LARGEST_STEP = 0.05
"""Of a layer: the curvature of the cubed error is 6 |e| times that of half its square."""


def _unit(source: Array) -> tuple[Array, Array]:
    """Each matrix over its largest entry, so that no power underflows, and |.|_4^2 of that."""
    xp = namespace(source)
    largest = xp.abs(source).max(axis=(-2, -1), keepdims=True)
    unit = source / xp.where(largest > 0, largest, 1)
    fourth = (unit**4).sum(axis=(-2, -1), keepdims=True)
    return unit, xp.sqrt(xp.where(largest > 0, fourth, 1))
