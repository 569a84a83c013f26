"""ONNX's operators as functions of tensors, under NumPy's names. Opset 21."""

from collections.abc import Sequence

import numpy as np

from mcore.export.builder import Operand, Tensor, code


def exp(x: Tensor) -> Tensor:
    """`e^x`."""
    return _same("Exp", x)


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return _same("Tanh", x)


def atanh(x: Tensor) -> Tensor:
    """Its inverse."""
    return _same("Atanh", x)


def sqrt(x: Tensor) -> Tensor:
    """Square root."""
    return _same("Sqrt", x)


def erf(x: Tensor) -> Tensor:
    """The error function."""
    return _same("Erf", x)


def absolute(x: Tensor) -> Tensor:
    """`|x|`."""
    return _same("Abs", x)


def rint(x: Tensor) -> Tensor:
    """The nearest whole number, ties to even."""
    return _same("Round", x)


def floor(x: Tensor) -> Tensor:
    """The largest whole number that is not above x."""
    return _same("Floor", x)


def cos(x: Tensor) -> Tensor:
    """Cosine."""
    return _same("Cos", x)


def sin(x: Tensor) -> Tensor:
    """Sine."""
    return _same("Sin", x)


def logistic(x: Tensor) -> Tensor:
    """`1 / (1 + e^-x)`."""
    return _same("Sigmoid", x)


def maximum(x: Tensor, other: Operand) -> Tensor:
    """The larger of two."""
    return x.builder.node("Max", [x, x.like(other)], x.dtype)


def minimum(x: Tensor, other: Operand) -> Tensor:
    """The smaller of two."""
    return x.builder.node("Min", [x, x.like(other)], x.dtype)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """Matrix product over the last two axes."""
    return x.builder.node("MatMul", [x, y], x.dtype)


def where(condition: Tensor, x: Tensor, other: Operand) -> Tensor:
    """x where the condition holds, else `other`."""
    return x.builder.node("Where", [condition, x, x.like(other)], x.dtype)


def equal(x: Tensor, other: Operand) -> Tensor:
    """`x == other`."""
    return x.builder.node("Equal", [x, x.like(other)], "bool")


def greater(x: Tensor, other: Operand) -> Tensor:
    """`x > other`."""
    return x.builder.node("Greater", [x, x.like(other)], "bool")


def at_least(x: Tensor, other: Operand) -> Tensor:
    """`x >= other`."""
    return x.builder.node("GreaterOrEqual", [x, x.like(other)], "bool")


def both(x: Tensor, y: Tensor) -> Tensor:
    """`x and y`."""
    return x.builder.node("And", [x, y], "bool")


def either(x: Tensor, y: Tensor) -> Tensor:
    """`x or y`."""
    return x.builder.node("Or", [x, y], "bool")


def cast(x: Tensor, dtype: str) -> Tensor:
    """x as another dtype."""
    return x.builder.node("Cast", [x], dtype, {"to": code(dtype)})


def concatenate(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Several tensors, one after the other along an axis."""
    return parts[0].builder.node("Concat", parts, parts[0].dtype, {"axis": axis})


def part(x: Tensor, axis: int, begin: int, end: int) -> Tensor:
    """`x[begin:end]` along an axis."""
    bounds = [_integers(x, [number]) for number in (begin, end, axis)]
    return x.builder.node("Slice", [x, *bounds], x.dtype)


def expand(x: Tensor, *axes: int) -> Tensor:
    """Axes of length 1 put in, counted in the result."""
    return x.builder.node("Unsqueeze", [x, _integers(x, axes)], x.dtype)


def squeeze(x: Tensor, *axes: int) -> Tensor:
    """Axes of length 1 taken out."""
    return x.builder.node("Squeeze", [x, _integers(x, axes)], x.dtype)


def reshape(x: Tensor, *shape: int) -> Tensor:
    """Another shape; 0 stands for the axis that was there."""
    return x.builder.node("Reshape", [x, _integers(x, shape)], x.dtype)


def transpose(x: Tensor, axes: Sequence[int]) -> Tensor:
    """The axes in another order."""
    return x.builder.node("Transpose", [x], x.dtype, {"perm": list(axes)})


def total(x: Tensor, *axes: int) -> Tensor:
    """The sum along axes, which go."""
    return x.builder.node("ReduceSum", [x, _integers(x, axes)], x.dtype, {"keepdims": 0})


def total_kept(x: Tensor, *axes: int) -> Tensor:
    """The sum along axes, which stay with length 1."""
    return x.builder.node("ReduceSum", [x, _integers(x, axes)], x.dtype)


def largest_kept(x: Tensor, *axes: int) -> Tensor:
    """The maximum along axes, which stay with length 1."""
    return x.builder.node("ReduceMax", [x, _integers(x, axes)], x.dtype)


def least_place(x: Tensor, axis: int) -> Tensor:
    """Where the minimum along an axis is, the first of equal ones; the axis goes."""
    return x.builder.node("ArgMin", [x], "int64", {"axis": axis, "keepdims": 0})


def softmax(x: Tensor, axis: int) -> Tensor:
    """`e^x`, normalised along an axis."""
    return x.builder.node("Softmax", [x], x.dtype, {"axis": axis})


def any_of(x: Tensor) -> Tensor:
    """Whether one entry of a bool (B,) holds: shape ()."""
    return greater(squeeze(largest_kept(cast(x, "int32"), 0), 0), 0)


def rows_of(table: Tensor, indices: Tensor) -> Tensor:
    """`table[indices]`."""
    return table.builder.node("Gather", [table, indices], table.dtype)


def picked(x: Tensor, places: Sequence[int]) -> Tensor:
    """`x[..., places]`."""
    return x.builder.node("Gather", [x, _integers(x, places)], x.dtype, {"axis": -1})


def is_nan(x: Tensor) -> Tensor:
    """Whether a number is missing."""
    return x.builder.node("IsNaN", [x], "bool")


def best_places(x: Tensor, count: int, axis: int) -> Tensor:
    """Places of the largest entries along an axis; of equal ones the first."""
    inputs = [x, _integers(x, [count])]
    return x.builder.nodes_out("TopK", inputs, [x.dtype, "int64"], {"axis": axis})[1]


def arange(x: Tensor, count: int) -> Tensor:
    """0, 1, ... as an int64 constant of the graph that x belongs to."""
    return _integers(x, range(count))


def _same(kind: str, x: Tensor) -> Tensor:
    return x.builder.node(kind, [x], x.dtype)


def _integers(x: Tensor, numbers: Sequence[int]) -> Tensor:
    return x.builder.constant(np.array(list(numbers), np.int64))
