"""Activations of gates, in place, that vectorise; and a row of gates cut into its parts.

Loops over few contiguous arrays, from 0 on, vectorise; long ones over many arrays do not, as the
compiler cannot rule out that they overlap.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import sigmoid, tanh


@device
def thirds(gates: Any) -> Any:
    """Three equal parts of a row."""
    width = gates.shape[0] // 3
    return gates[:width], gates[width : 2 * width], gates[2 * width :]


@device
def quarters(gates: Any) -> Any:
    """Four equal parts of a row."""
    width = gates.shape[0] // 4
    first, second = gates[:width], gates[width : 2 * width]
    return first, second, gates[2 * width : 3 * width], gates[3 * width :]


@device
def sigmoid_gate(x: Any, gate: Any) -> None:
    """`gate = sigmoid(x + gate)`."""
    for j in range(gate.shape[0]):
        gate[j] = sigmoid(x[j] + gate[j])


@device
def tanh_gate(x: Any, gate: Any) -> None:
    """`gate = tanh(x + gate)`."""
    for j in range(gate.shape[0]):
        gate[j] = tanh(x[j] + gate[j])


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


@device
def zero(out: Any) -> None:
    """`out = 0`."""
    for j in range(out.shape[0]):
        out[j] = 0
