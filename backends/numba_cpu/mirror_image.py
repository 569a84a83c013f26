"""Images of mirror descent, matrix by matrix.

Moneta's, with u = A / L for any L of A's size:         W = u^3 L / sqrt(sum u^4)
Memora's, along the inputs (columns of w_in, rows of the transpose of w_out):

    W = e^(A - max) / sum e^(A - max)
"""

import math
from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.matvec import highest, largest
from mcore.backends.numba_cpu.vector_gates import fill

NOTHING = 1e-37
"""Moneta's matrices of smaller numbers count as 0: so 1 / L is finite in float32."""


@device
def make_image(quartic: bool, source: Any, image: Any) -> None:
    """The image of A = `source`; of Moneta, `image.largest` is given."""
    if quartic:
        image.scale_in[:] = _quartic(source, image, 0)
        image.scale_out[:] = _quartic(source, image, 1)
    else:
        _columns_softmax(source[0], image.weights[0], image.scale_in)
        _rows_softmax(source[1], image.weights[1], image.scale_out)


@device
def measure(source: Any, image: Any) -> None:
    """`image.largest` and, as upper bounds, `image.norms` from A itself."""
    for m in range(2):
        top = largest(source[m, 0])
        for i in range(1, source.shape[1]):
            top = max(top, largest(source[m, i]))
        image.largest[m], image.norms[m] = top, 1


@device
def grow(image: Any, m: int, rates: Any, factors: Any) -> None:
    """`image.largest` after `A = decay A - step left right^T`; `factors` is (left, right).

    The 4-norm bounds the entries of A before.
    """
    decay, step = rates
    before = image.largest[m] * math.sqrt(image.norms[m])
    image.largest[m] = decay * before + abs(step) * largest(factors[0]) * largest(factors[1])


@device
def inverse_size(largest: Any) -> Any:
    """`1 / L` of both matrices."""
    one = largest.dtype.type(1)
    first = one / largest[0] if largest[0] > NOTHING else one - one
    second = one / largest[1] if largest[1] > NOTHING else one - one
    return first, second


@device
def _quartic(source: Any, image: Any, m: int) -> Any:
    """u^3 in the weights; returns L / n."""
    inverse, total = inverse_size(image.largest)[m], source.dtype.type(0)
    for i in range(source.shape[1]):
        row, weights = source[m, i], image.weights[m, i]
        for e in range(row.shape[0]):
            u = row[e] * inverse
            square = u * u
            weights[e] = square * u
            total += square * square
    image.norms[m] = math.sqrt(total) if total > 0 else 1
    return image.largest[m] / image.norms[m]


@device
def _columns_softmax(source: Any, weights: Any, scale: Any) -> None:
    fill(source[0], scale)
    for i in range(1, source.shape[0]):
        row = source[i]
        for e in range(scale.shape[0]):
            scale[e] = max(scale[e], row[e])
    for i in range(source.shape[0]):
        row, share = source[i], weights[i]
        for e in range(scale.shape[0]):
            share[e] = exp(row[e] - scale[e])
    scale[:] = 0
    for i in range(source.shape[0]):
        for e in range(scale.shape[0]):
            scale[e] += weights[i, e]
    for e in range(scale.shape[0]):
        scale[e] = 1 / scale[e]


@device
def _rows_softmax(source: Any, weights: Any, scale: Any) -> None:
    for i in range(source.shape[0]):
        row, share = source[i], weights[i]
        top, total = highest(row), source.dtype.type(0)
        for e in range(row.shape[0]):
            share[e] = exp(row[e] - top)
        for e in range(row.shape[0]):
            total += share[e]
        scale[i] = 1 / total
