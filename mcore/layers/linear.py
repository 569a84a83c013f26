"""Linear projection, without bias."""

from mcore.arrays import Array

Saved = tuple[Array, Array]


def linear(x: Array, weight: Array) -> tuple[Array, Saved]:
    """Project the last axis, as one matrix product over all leading axes.

        y = x W

    Shapes: x (..., I), weight (I, O) -> y (..., O).
    """
    y = rows(x) @ weight
    return y.reshape(*x.shape[:-1], weight.shape[1]), (x, weight)


def linear_backward(saved: Saved, dy: Array) -> tuple[Array, Array]:
    """Gradients of `linear`.

        dx = dy W^T        dW = x^T dy

    Shapes: dy (..., O) -> dx (..., I), dweight (I, O).
    """
    x, weight = saved
    dy = rows(dy)
    return (dy @ weight.T).reshape(x.shape), rows(x).T @ dy


def rows(x: Array) -> Array:
    """All leading axes as one: (..., D) -> (N, D), a view where the layout allows."""
    return x.reshape(-1, x.shape[-1])
