"""Exact GELU with its first two derivatives, and the error function that it is made of."""

from collections.abc import Sequence
from math import pi, sqrt
from typing import NamedTuple

from mcore.arrays import Array, namespace

_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2,
     3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2,
     1.28261652607737228e3, 2.84423683343917062e3),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1,
     2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
     1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
     1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3,
     1.23033935480374942e3),
)  # fmt: skip
_FAR = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242, 1.87295284992346725,
     5.27905102951428412e-1, 6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip
_BORDERS = (0.46875, 4.0)
_LARGEST = 6.0
"""Beyond it, erf is 1 to the last bit of float64."""


_NO_DENSITY = 40.0
"""Beyond it, the normal density is 0 in float64."""


class Gelu(NamedTuple):
    """`x Phi(x)`, its slope and the slope's slope."""

    value: Array
    slope: Array
    curvature: Array


def gelu(x: Array) -> Gelu:
    """GELU and its derivatives (Hendrycks and Gimpel 2016), with the error function.

        y = x Phi(x)        y' = Phi(x) + x N(x)        y'' = N(x) (2 - x^2)

    Phi is the normal distribution and N its density. Shapes: x (...) -> three times (...).
    """
    xp = namespace(x)
    below = 0.5 * (1 + erf(x * sqrt(0.5)))
    near = xp.clip(x, -_NO_DENSITY, _NO_DENSITY)
    density = xp.exp(-0.5 * near * near) * (1 / sqrt(2 * pi))
    return Gelu(x * below, below + near * density, density * (2 - near * near))


def erf(x: Array) -> Array:
    """The error function, to about one unit in the last place of 1.

    Rational approximations on three intervals (Cody 1969). Shapes: x (...) -> (...).
    """
    xp = namespace(x)
    y = xp.minimum(xp.abs(x), _LARGEST)
    near, middle = (xp.minimum(y, border) for border in _BORDERS)
    far = xp.maximum(y, _BORDERS[1])
    square = 1 / (far * far)
    tail = (1 / sqrt(pi) - square * _ratio(_FAR, square)) / far
    rest = xp.where(y > _BORDERS[1], tail, _ratio(_MIDDLE, middle)) * xp.exp(-y * y)
    small = near * _ratio(_NEAR, near * near)
    found: Array = xp.copysign(xp.where(y > _BORDERS[0], 1 - rest, small), x)
    return found


def _ratio(polynomials: tuple[Sequence[float], Sequence[float]], x: Array) -> Array:
    top, bottom = (_horner(coefficients, x) for coefficients in polynomials)
    return top / bottom


def _horner(coefficients: Sequence[float], x: Array) -> Array:
    """Highest power first."""
    value = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value
