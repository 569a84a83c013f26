"""Linear projection with a bias."""

from mcore.arrays import Array
from mcore.layers.linear import Saved, linear, linear_backward, rows


def affine(x: Array, weight: Array, bias: Array) -> tuple[Array, Saved]:
    """Project the last axis and shift it.

        y = x W + b

    Shapes: x (..., I), weight (I, O), bias (O,) -> y (..., O).
    """
    y, saved = linear(x, weight)
    y += bias
    return y, saved


def affine_backward(saved: Saved, dy: Array) -> tuple[Array, Array, Array]:
    """Gradients of `affine`.

        dx = dy W^T        dW = x^T dy        db = sum of dy over all leading axes

    Shapes: dy (..., O) -> dx (..., I), dweight (I, O), dbias (O,).
    """
    return (*linear_backward(saved, dy), rows(dy).sum(axis=0))
