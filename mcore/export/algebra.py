"""What rules and layers are written with: products over the last axes, activations, norms."""

from math import pi, sqrt
from typing import NamedTuple

import numpy as np

from mcore.export import ops
from mcore.export.builder import Tensor

_NO_DENSITY = 40.0
"""Beyond it, the normal density is 0."""


def outer(a: Tensor, b: Tensor) -> Tensor:
    """`a b^T`: (..., K), (..., V) -> (..., K, V)."""
    return ops.expand(a, -1) * ops.expand(b, -2)


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """`A x`: (..., K, V), (..., V) -> (..., K)."""
    return ops.squeeze(ops.matmul(matrix, ops.expand(vector, -1)), -1)


def transposed_times(matrix: Tensor, vector: Tensor) -> Tensor:
    """`A^T x`: (..., K, V), (..., K) -> (..., V)."""
    return ops.squeeze(ops.matmul(ops.expand(vector, -2), matrix), -2)


def row(x: Tensor) -> Tensor:
    """A number per head, to multiply vectors by."""
    return ops.expand(x, -1)


def column(x: Tensor) -> Tensor:
    """A number per head, to multiply its state by."""
    return ops.expand(x, -1, -2)


def silu(x: Tensor) -> Tensor:
    """`x sigmoid(x)`."""
    return x * ops.logistic(x)


def softplus(x: Tensor) -> Tensor:
    """`log(1 + exp(x))` to the last digits for any x.

    `max(x, 0) + log1p(e)` with `e = exp(-|x|)`; ONNX has no log1p, so it is `2 atanh(e / (2 + e))`.
    """
    tail = ops.exp(-ops.absolute(x))
    return ops.maximum(x, 0.0) + 2.0 * ops.atanh(tail / (tail + 2.0))


class Gelu(NamedTuple):
    """`x Phi(x)` and its slope."""

    value: Tensor
    slope: Tensor


def gelu(x: Tensor) -> Gelu:
    """Exact GELU, with Phi from the error function: see `mcore.recurrence.gelu`."""
    below = 0.5 * (1.0 + ops.erf(x * sqrt(0.5)))
    near = ops.maximum(ops.minimum(x, _NO_DENSITY), -_NO_DENSITY)
    density = ops.exp(-0.5 * near * near) * (1 / sqrt(2 * pi))
    return Gelu(x * below, below + near * density)


def rms_norm(x: Tensor, weight: Tensor, width: int, eps: float = 1e-6) -> Tensor:
    """The last axis, `width` long, to unit mean square, then per channel."""
    square = ops.total_kept(x * x, -1) * (1 / width)
    return x * (1.0 / ops.sqrt(square + eps)) * weight


def unit_norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """The last axis to unit length."""
    return x * (1.0 / ops.sqrt(ops.total_kept(x * x, -1) + eps))


def length(x: Tensor, *axes: int) -> Tensor:
    """Euclidean norm along axes, which go."""
    return ops.sqrt(ops.total(x * x, *axes))


def one_hot(place: Tensor, count: int) -> Tensor:
    """(B, count) bool, true at a row's place (B,)."""
    return ops.equal(ops.arange(place, count), ops.expand(place, -1))


def per_head(x: Tensor, heads: int) -> Tensor:
    """(B, H W) -> (B, H, W)."""
    return ops.reshape(x, 0, heads, -1)


def flat(x: Tensor) -> Tensor:
    """(B, H, W) -> (B, H W)."""
    return ops.reshape(x, 0, -1)


def numbers(x: Tensor, values: object) -> Tensor:
    """A constant array of the dtype of x."""
    return x.builder.constant(np.asarray(values, x.dtype))
