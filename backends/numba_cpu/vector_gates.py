"""Activations of gates, in place, that vectorise.

Loops over few contiguous arrays, from 0 on, vectorise; long ones over many arrays do not, as the
compiler cannot rule out that they overlap.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import sigmoid, tanh


@device
def plane(planes: Any, k: int) -> Any:
    """Plane k of `planes`: a memory (., ., planes, rows V), and which part of it is meant.

    The result is known to be contiguous, which a part of a part is not.
    """
    memory, i, j, begin, end = planes
    return memory[i, j, k, begin:end]


@device
def four(planes: Any) -> Any:
    """The first four planes."""
    return plane(planes, 0), plane(planes, 1), plane(planes, 2), plane(planes, 3)


@device
def sigmoid_gate(gate: Any) -> None:
    """`gate = sigmoid(gate)`."""
    for j in range(gate.shape[0]):
        gate[j] = sigmoid(gate[j])


@device
def tanh_gate(gate: Any) -> None:
    """`gate = tanh(gate)`."""
    for j in range(gate.shape[0]):
        gate[j] = tanh(gate[j])


@device
def through_sigmoid(d: Any, y: Any) -> None:
    """The gradient `d` from behind a sigmoid, whose value is y, to before it."""
    one = y.dtype.type(1)
    for j in range(d.shape[0]):
        d[j] *= y[j] * (one - y[j])


@device
def through_tanh(d: Any, y: Any) -> None:
    """The gradient `d` from behind a tanh, whose value is y, to before it."""
    one = y.dtype.type(1)
    for j in range(d.shape[0]):
        d[j] *= one - y[j] * y[j]


@device
def product(x: Any, y: Any, out: Any) -> None:
    """`out = x * y`."""
    for j in range(out.shape[0]):
        out[j] = x[j] * y[j]


@device
def fill(source: Any, out: Any) -> None:
    """`out = source`."""
    for j in range(out.shape[0]):
        out[j] = source[j]
