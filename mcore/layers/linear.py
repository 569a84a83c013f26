"""Linear projection, without bias."""

from mcore.arrays import Array
from mcore.layers.product import in_dtype, product

Saved = tuple[Array, Array, str]
"""x, the weight as it was multiplied, and the dtype of the parameter."""


def linear(x: Array, weight: Array, dtype: str | None = None) -> tuple[Array, Saved]:
    """Project the last axis, as one matrix product over all leading axes.

        y = x W

    The weight is rounded to the dtype of x. y has it too, or the wider `dtype`.

    Shapes: x (..., I), weight (I, O) -> y (..., O).
    """
    used = in_dtype(weight, x.dtype.name)
    y = product(rows(x), used, dtype or x.dtype.name)
    return y.reshape(*x.shape[:-1], weight.shape[1]), (x, used, weight.dtype.name)


def linear_backward(saved: Saved, dy: Array) -> tuple[Array, Array]:
    """Gradients of `linear`.

        dx = dy W^T        dW = x^T dy

    dx has the dtype of x, dW that of the parameter.

    Shapes: dy (..., O) -> dx (..., I), dweight (I, O).
    """
    x, weight, dtype = saved
    dy = rows(in_dtype(dy, x.dtype.name))
    dx = product(dy, weight.T, x.dtype.name).reshape(x.shape)
    return dx, product(rows(x).T, dy, dtype)


def rows(x: Array) -> Array:
    """All leading axes as one: (..., D) -> (N, D), a view where the layout allows."""
    return x.reshape(-1, x.shape[-1])
