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
from mcore.recurrence.base import Inputs
from mcore.recurrence.laws import Feature, Gate, Law, Parameter
from mcore.recurrence.mirror import MirrorMemory, even, lasting


@dataclass(frozen=True)
class Moneta(MirrorMemory):
    """Descend on a perceptron's cubed error, with weights mirrored by their 4-norm (Moneta).

    `step`, `log_decay` (B, T, H); A starts at `w_in` (H, K, E), `w_out` (H, E, V).
    """

    kind: ClassVar[str] = "moneta"

    @property
    def features(self) -> dict[str, Law]:
        """As for every perceptron, from random signs, with unit values and steps of its own."""
        return {
            **super().features,
            "v": Feature(unit=True),
            "step": Gate("sigmoid", bias=even, largest=LARGEST_STEP),
            "log_decay": Gate("slow_decay", bias=lasting),
            "w_in": Parameter(_starts_in),
            "w_out": Parameter(_starts_out),
        }

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


LARGEST_STEP = 0.3
"""Of a layer. The curvature of the cubed error is 6 |e| in each channel, times 0.08 E from the
hidden vector and 3 / sqrt(K E) from dW/dA: for E = 2 K about 2 |e|, and between unit vectors |e| is
at most 2. This is 0.6 of the border 2 / c, since weights that grow apart raise dW/dA; with longer
values the curvature would have no bound."""

SPREAD = 0.5
"""Weights of w_in, and so hidden units of a unit key, at the start."""

ANSWER = 0.4
"""Weights of w_out, times sqrt(K E), at the start: what the perceptron adds to x is short, so that
first tokens show, and a step, at most 0.3 e^2, does not outweigh A."""


def _starts_in(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Random signs of one size: A = +- a has the image W = A / sqrt(K E).

    Numbers of many sizes would be cubed: few weights, large ones, would do and learn everything.
    """
    size = SPREAD * (shape[-2] * shape[-1]) ** 0.5
    return rng.choice(np.array([-size, size]), shape)


def _starts_out(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Random signs of one size, for the same reason."""
    return rng.choice(np.array([-ANSWER, ANSWER]), shape)


def _unit(source: Array) -> tuple[Array, Array]:
    """Each matrix over its largest entry, so that no power underflows, and |.|_4^2 of that."""
    xp = namespace(source)
    largest = xp.abs(source).max(axis=(-2, -1), keepdims=True)
    unit = source / xp.where(largest > 0, largest, 1)
    fourth = (unit**4).sum(axis=(-2, -1), keepdims=True)
    return unit, xp.sqrt(xp.where(largest > 0, fourth, 1))
