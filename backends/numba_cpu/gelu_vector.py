"""GELU of a row of numbers, with its slope and curvature, in loops that vectorise.

    y = x Phi(x)        y' = Phi(x) + x N(x)        y'' = N(x) (2 - x^2)

Phi is the normal distribution, N its density. One exponential gives both: for a = |x|,

    Phi(-a) = e^(-a^2 / 2) p(t) / (a + 4),   t = (a - 4) / (a + 4)

where p is a polynomial (Chebyshev's series of what is left, cut below the rounding error), so the
far negative side keeps its leading digits as well.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from mcore.backends.numba_cpu.caching import EXACT, device
from mcore.backends.numba_cpu.elementwise import exp

_F, _I = np.float32, np.int32
_END_32, _DENSITY_32 = _F(13.26), _F(1 / math.sqrt(2 * math.pi))
_TAIL_32 = tuple(
    _F(c)
    for c in (
        -0.000123290628042263098, 0.00019348220441993243, 0.00156763295548550747,
        -0.0035238912054164143, -0.00752651339689382249, 0.060406795417457599,
        -0.186523068800465816, 0.387136638977618359, -0.607896605631517683,
        0.755285139176193936,
    )
)  # fmt: skip

_LOG2_32 = _F(-0.5 / math.log(2))
# Its last bits are an exponent's bias: those of a sum with it are the exponent of a power of two.
_ROUND_32 = _F(1.5 * 2**23 + 127)
_POWER_32 = tuple(
    _F(c)
    for c in (
        0.0013400432165218525, 0.009676037097858643, 0.05550327214209617, 0.2402210735583069,
        0.6931472067106196, 1.0000000754953484,
    )
)  # fmt: skip
"""2^r for |r| <= 1/2, highest power first. At _END the exponent is that of 0."""

_CENTRE_64, _END_64, _DENSITY_64 = 4.0, 39.0, 1 / math.sqrt(2 * math.pi)
_HIGH_64 = (
    -6.956493025352831e-10, -2.4545235044259033e-09, 1.8447535232485742e-09, 1.9374886380522798e-08,
    1.3320772310367773e-08, -8.502508176663362e-08, -1.549133718099133e-07, 2.714643213193074e-07,
    1.0214618696615973e-06, -6.29508343694983e-07, -5.920109799721969e-06, 7.165990534208174e-07,
)  # fmt: skip
_LOW_64 = (
    3.514466162725137e-05, -1.9082429161357464e-06, -0.00023109492958876522, 0.0001333443101408164,
    0.0016308184568438854, -0.0034796923671979656, -0.007540188966673124, 0.060396574890927764,
    -0.186521857959659, 0.3871374007422147, -0.6078966419718921, 0.7552851304157515,
)  # fmt: skip
"""Coefficients of p, highest power first, in two parts: longer loops would not be unrolled. At _END
both Phi(-a) and N(a) are 0 in their type."""


def _normal32(x: Any) -> Any:
    a = min(abs(x), _END_32)
    u = _F(1) / (a + _F(4))
    t = _F(1) - _F(8) * u
    p = _TAIL_32[0]
    for n in range(1, 10):
        p = p * t + _TAIL_32[n]
    square = a * a
    rounded = square * _LOG2_32 + _ROUND_32
    r = square * _LOG2_32 - (rounded - _ROUND_32)
    e = _POWER_32[0]
    for n in range(1, 6):
        e = e * r + _POWER_32[n]
    e = e * _I(_F(rounded).view(_I) << _I(23)).view(_F)
    tail = e * (p * u)
    return (tail if x < _F(0) else _F(1) - tail), e * _DENSITY_32


def _normal64(x: Any) -> Any:
    a = min(abs(x), _END_64)
    u = 1.0 / (a + _CENTRE_64)
    t = (a - _CENTRE_64) * u
    p = _HIGH_64[0]
    for n in range(1, 12):
        p = p * t + _HIGH_64[n]
    for n in range(12):
        p = p * t + _LOW_64[n]
    e = exp(-0.5 * a * a)
    tail = e * (p * u)
    return (tail if x < 0.0 else 1.0 - tail), e * _DENSITY_64


def normal(x: Any) -> Any:
    """`(Phi(x), N(x))`, in the type of `x`, to about one unit in the last place of 1."""
    density = math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return 0.5 * math.erfc(-x * math.sqrt(0.5)), density


# Too long to be inlined unasked; a loop that calls it would not vectorise.
@overload(normal, jit_options={**EXACT, "forceinline": True})
def _normal(x: Any) -> Any:
    return _normal32 if x == types.float32 else _normal64


@device
def gelu_value(x: Any, value: Any) -> None:
    """`value = gelu(x)`; (n,) each. In place it is right, but does not vectorise."""
    for i in range(x.shape[0]):
        here = x[i]
        below, _ = normal(here)
        value[i] = here * below


@device
def gelu_slope(x: Any, value: Any, slope: Any) -> None:
    """`value = gelu(x)`, `slope = gelu'(x)`; (n,) each. One of them may be `x` itself."""
    for i in range(x.shape[0]):
        here = x[i]
        below, density = normal(here)
        value[i] = here * below
        slope[i] = below + here * density


@device
def gelu_curvature(x: Any, value: Any, slope: Any, curvature: Any) -> None:
    """`value = gelu(x)`, `slope = gelu'(x)`, `curvature = gelu''(x)`; as `gelu_slope`."""
    for i in range(x.shape[0]):
        here = x[i]
        below, density = normal(here)
        value[i] = here * below
        slope[i] = below + here * density
        curvature[i] = density * (x.dtype.type(2) - here * here)
