"""The normaliser of linear attention: answers are numerators with their denominator behind them."""

from types import ModuleType

from mcore.arrays import Array
from mcore.recurrence.linear import EPS


def extend(xp: ModuleType, v: Array) -> Array:
    """Values with a column of ones, whose answer is the denominator."""
    extended: Array = xp.empty((*v.shape[:-1], v.shape[-1] + 1), v.dtype)
    extended[..., :-1] = v
    extended[..., -1] = 1
    return extended


def divide(xp: ModuleType, answers: Array) -> Array:
    """`numerator / (denominator + eps)`: (..., V + 1) to (..., V)."""
    divided: Array = answers[..., :-1] / (answers[..., -1:] + answers.dtype.type(EPS))
    return divided


def divide_backward(xp: ModuleType, answers: Array, dy: Array) -> Array:
    """Gradient of `divide`."""
    scale = answers[..., -1:] + answers.dtype.type(EPS)
    d_answers: Array = xp.empty(answers.shape, answers.dtype)
    d_answers[..., :-1] = dy / scale
    d_answers[..., -1:] = -(d_answers[..., :-1] * answers[..., :-1]).sum(-1, keepdims=True) / scale
    return d_answers
