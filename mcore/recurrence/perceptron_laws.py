"""How a layer makes the inputs of a perceptron, and why each number is what it is.

Descent on a quadratic of curvature c is stable for steps below 2 / c. For half the squared error
and a unit key, c is the squared norm of the hidden vector and, from w_in, a little more. Hidden
units of variance one before gelu have a mean square of 0.43 behind it, so c is about 0.43 E.
"""

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.laws import Feature, Gate, Law, Parameter

LARGEST_STEP = 4.0
"""Of a layer, times E: just below 2 / c. At the start a step is half of that, and a token corrects
0.85 of its error; with a step that is not in proportion to 1 / E, wide perceptrons diverge and
narrow ones hardly change."""


def slow(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """One: `log(sigmoid(1)) / 16` keeps 0.98 of a memory, its learned start included, per token."""
    return np.ones(shape)


def spread(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers: unit keys, as they are, make hidden units of variance one.

    With a variance of 1 / K they would be too small for gelu to tell keys apart, and a token would
    move the answer by a tenth of its error.
    """
    return rng.standard_normal(shape)


def short(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal numbers of variance 1 / (I O) for a matrix (..., I, O).

    What a perceptron adds to x before it has seen a token is then no longer than x.
    """
    weights: Array = rng.standard_normal(shape) * (shape[-2] * shape[-1]) ** -0.5
    return weights


LAWS: dict[str, Law] = {
    "q": Feature(unit=True),
    "k": Feature(unit=True),
    "v": Feature(),
    "step": Gate("sigmoid", largest=LARGEST_STEP, over="E"),
    "log_decay": Gate("slow_decay", bias=slow),
    "w_in": Parameter(spread),
    "w_out": Parameter(short),
}
"""Unit queries and keys as Titans and Miras have them. Values keep their length: next to the x that
the perceptron adds, a unit value would be easily missed."""
