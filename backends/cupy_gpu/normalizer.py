"""The normaliser of linear attention: answers are numerators with their denominator behind them."""

from typing import Any

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.matrix_layout import THREADS, state_type
from mcore.backends.cupy_gpu.sources import Variant
from mcore.recurrence.linear import EPS


def extend(device: Device, v: Array) -> Array:
    """Values with a column of ones, whose answer is the denominator."""
    values = v.shape[-1]
    extended: Array = device.xp.empty((*v.shape[:-1], values + 1), v.dtype)
    _launch(device, "extend", (v, extended), (v.size // values, values), extended.size)
    return extended


def divide(device: Device, answers: Array) -> Array:
    """`numerator / (denominator + eps)`: (..., V + 1) to (..., V)."""
    values = answers.shape[-1] - 1
    divided: Array = device.xp.empty((*answers.shape[:-1], values), answers.dtype)
    sizes = divided.size // values, values
    _launch(device, "divide", (answers, divided, EPS), sizes, divided.size)
    return divided


def divide_backward(device: Device, answers: Array, dy: Array) -> Array:
    """Gradient of `divide`."""
    values = dy.shape[-1]
    d_answers: Array = device.xp.empty(answers.shape, answers.dtype)
    rows = dy.size // values
    _launch(device, "divide_backward", (answers, dy, d_answers, EPS), (rows, values), 32 * rows)
    return d_answers


def _launch(
    device: Device, name: str, values: tuple[Any, ...], sizes: tuple[int, int], threads: int
) -> None:
    token = values[0].dtype
    run = device.kernel(Variant("normalizer", state_type(token), token.name), name)
    run((-(-threads // THREADS), 1, 1), (THREADS, 1, 1), (*values, *sizes), 0)
