"""Stacks of (K, E) matrices: how the state of a perceptron and what goes with it is laid out."""

from mcore.arrays import Array, namespace


def matrices(stack: Array, width: int) -> tuple[Array, Array]:
    """The first two (K, E) matrices of a stack (..., n K, E)."""
    return stack[..., :width, :], stack[..., width : 2 * width, :]


def stacked(*parts: Array) -> Array:
    """Stacks of (K, E) matrices, one below the other."""
    whole: Array = namespace(parts[0]).concatenate(parts, axis=-2)
    return whole


def column(x: Array) -> Array:
    """A number per head, to multiply its state by."""
    return x[..., None, None]
