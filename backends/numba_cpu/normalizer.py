"""The normaliser of linear attention: answers are numerators with their denominator behind them."""

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.linear import EPS


def extend(v: Array) -> Array:
    """Values with a column of ones, whose answer is the denominator."""
    extended = np.ones((*v.shape[:-1], v.shape[-1] + 1), v.dtype)
    extended[..., :-1] = v
    return extended


def divide(answers: Array) -> Array:
    """`numerator / (denominator + eps)`: (..., V + 1) to (..., V)."""
    divided: Array = answers[..., :-1] / (answers[..., -1:] + answers.dtype.type(EPS))
    return divided


def divide_backward(answers: Array, dy: Array) -> Array:
    """Gradient of `divide`."""
    scale = answers[..., -1:] + answers.dtype.type(EPS)
    d_answers = np.empty_like(answers)
    d_answers[..., :-1] = dy / scale
    d_answers[..., -1:] = -(d_answers[..., :-1] * answers[..., :-1]).sum(-1, keepdims=True) / scale
    return d_answers
