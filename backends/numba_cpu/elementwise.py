"""Exponentials that vectorise, and what is built on them: `exp`, `sigmoid`, `tanh`, `log_sigmoid`,
`softmax_row`.

`exp(x) = 2^m exp(r)` with m the nearest integer to x / log 2 and |r| <= log(2) / 2. Adding
1.5 * 2^23 (2^52) rounds to the nearest integer and leaves it in the low bits of the sum; exp(r) is
its Taylor polynomial, cut where the rest is below the rounding error; 2^m is put together from its
bits in two halves, so that results overflow to infinity and underflow to 0 as they should.
"""

import math
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import overload

from mcore.backends.numba_cpu.caching import EXACT, device

_F, _I = np.float32, np.int32
_LOG2E_32 = _F(1 / math.log(2))
# log(2) in two parts, the first with few bits: m * part is then exact.
_HIGH_32, _LOW_32 = _F(0.693359375), _F(-2.12194440054690583e-4)
_ROUND_32 = _F(1.5 * 2**23)
_ROUND_BITS_32 = int(_ROUND_32.view(_I))
_TAYLOR_32 = tuple(_F(1 / math.factorial(n)) for n in range(7, -1, -1))

_LOG2E_64 = 1 / math.log(2)
_HIGH_64, _LOW_64 = 0.693145751953125, 1.42860682030941723212e-6
_ROUND_64 = 1.5 * 2**52
_ROUND_BITS_64 = int(np.float64(_ROUND_64).view(np.int64))
_TAYLOR_64 = tuple(1 / math.factorial(n) for n in range(13, -1, -1))


def _exp32(x: Any) -> Any:
    t = min(max(x, _F(-104.0)), _F(89.0))
    rounded = t * _LOG2E_32 + _ROUND_32
    m = rounded - _ROUND_32
    r = (t - m * _HIGH_32) - m * _LOW_32
    p = _TAYLOR_32[0]
    for n in range(1, 8):
        p = p * r + _TAYLOR_32[n]
    power = _I(_F(rounded).view(_I) - _ROUND_BITS_32)
    half = _I(power >> 1)
    first = _I((half + 127) << 23).view(_F)
    second = _I((power - half + 127) << 23).view(_F)
    return p * first * second


def _exp64(x: Any) -> Any:
    t = min(max(x, -746.0), 710.0)
    rounded = t * _LOG2E_64 + _ROUND_64
    m = rounded - _ROUND_64
    r = (t - m * _HIGH_64) - m * _LOW_64
    p = _TAYLOR_64[0]
    for n in range(1, 14):
        p = p * r + _TAYLOR_64[n]
    power = np.float64(rounded).view(np.int64) - _ROUND_BITS_64
    half = power >> 1
    first = np.int64((half + 1023) << 52).view(np.float64)
    second = np.int64((power - half + 1023) << 52).view(np.float64)
    return p * first * second


def exp(x: Any) -> Any:
    """`e^x` to about one unit in the last place, in the type of `x`; loops over it vectorise."""
    return math.exp(x)


@overload(exp, jit_options=EXACT)
def _exp(x: Any) -> Any:
    return _exp32 if x == types.float32 else _exp64


def _sigmoid32(x: Any) -> Any:
    return _F(1) / (_F(1) + exp(-x))


def _sigmoid64(x: Any) -> Any:
    return 1.0 / (1.0 + exp(-x))


def sigmoid(x: Any) -> Any:
    """`1 / (1 + e^-x)`, in the type of `x`; loops over it vectorise."""
    return 1 / (1 + math.exp(-x))


@overload(sigmoid, jit_options=EXACT)
def _sigmoid(x: Any) -> Any:
    return _sigmoid32 if x == types.float32 else _sigmoid64


def _tanh32(x: Any) -> Any:
    y = sigmoid(x + x)
    return y + y - _F(1)


def _tanh64(x: Any) -> Any:
    y = sigmoid(x + x)
    return y + y - 1.0


def tanh(x: Any) -> Any:
    """`2 sigmoid(2 x) - 1`, in the type of `x`: to about one unit in the last place of 1."""
    return math.tanh(x)


@overload(tanh, jit_options=EXACT)
def _tanh(x: Any) -> Any:
    return _tanh32 if x == types.float32 else _tanh64


# log(1 + y) = 2 artanh(s), s = y / (2 + y): a series in s^2, at most 1/9 for y = e^-|x|.
_ARTANH_32 = tuple(_F(2 / (2 * n + 1)) for n in range(7, -1, -1))
_ARTANH_64 = tuple(2 / (2 * n + 1) for n in range(17, -1, -1))


def _log_sigmoid32(x: Any) -> Any:
    y = exp(-abs(x))
    s = y / (_F(2) + y)
    square = s * s
    p = _ARTANH_32[0]
    for n in range(1, 8):
        p = p * square + _ARTANH_32[n]
    return min(x, _F(0)) - s * p


def _log_sigmoid64(x: Any) -> Any:
    y = exp(-abs(x))
    s = y / (2.0 + y)
    square = s * s
    p = _ARTANH_64[0]
    for n in range(1, 18):
        p = p * square + _ARTANH_64[n]
    return min(x, 0.0) - s * p


def log_sigmoid(x: Any) -> Any:
    """`log sigmoid(x) = min(x, 0) - log(1 + e^-|x|)`, in the type of `x`."""
    return min(x, 0) - math.log1p(math.exp(-abs(x)))


@overload(log_sigmoid, jit_options=EXACT)
def _log_sigmoid(x: Any) -> Any:
    return _log_sigmoid32 if x == types.float32 else _log_sigmoid64


# Without "no NaN" a maximum does not vectorise. NaN still comes through: exp(NaN - any) is NaN.
@numba.njit(fastmath={"nnan", "nsz", "reassoc"}, error_model="numpy")
def row_max(row: Any, least: Any) -> Any:
    """The largest of `least` and the numbers of `row`."""
    top = least
    for i in range(row.shape[0]):
        top = max(top, row[i])
    return top


@device
def softmax_row(logits: Any, online: Any) -> Any:
    """Softmax over `logits` and the number `online`: in place, and the online share returned."""
    top = row_max(logits, online)
    share = exp(online - top)
    total = share
    for i in range(logits.shape[0]):
        logits[i] = exp(logits[i] - top)
    for i in range(logits.shape[0]):
        total += logits[i]
    for i in range(logits.shape[0]):
        logits[i] /= total
    return share / total
