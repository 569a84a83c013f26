"""An ONNX graph under construction: nodes, constants, names, and values with an array's arithmetic.

Formulas are written with `Tensor`s as they would be with arrays; every operation adds a node.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np

from mcore.arrays import Array
from mcore.errors import BackendError

OLDEST = (1, 22)
"""The first version whose evaluator runs loops that look at the graph around them."""

Operand: TypeAlias = "Tensor | float"


def onnx() -> Any:
    """The `onnx` package, imported on first use.

    Raises:
        BackendError: it is not installed, or older than `OLDEST`.
    """
    try:
        import_module("onnx.helper")
        package = import_module("onnx")
    except ImportError:
        raise BackendError(
            "onnx: is not installed, and the export needs it; pip install 'mcore[onnx]' would do"
        ) from None
    if tuple(map(int, package.__version__.split(".")[:2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise BackendError(
            f"onnx: {package.__version__} is installed, and the export needs {wanted}; pip install "
            "'mcore[onnx]' would do"
        )
    return package


CODES = {
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "float16": "FLOAT16",
    "bfloat16": "BFLOAT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint64": "UINT64",
    "bool": "BOOL",
}
"""ONNX's names of the dtypes that graphs use."""


def code(dtype: str) -> int:
    """ONNX's number of a NumPy dtype."""
    return int(getattr(onnx().TensorProto, CODES[dtype]))


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph. Numbers beside it become constants of its dtype."""

    builder: "Builder"
    name: str
    dtype: str

    def __add__(self, other: Operand) -> "Tensor":
        return self._binary("Add", other)

    def __radd__(self, other: Operand) -> "Tensor":
        return self._binary("Add", other)

    def __mul__(self, other: Operand) -> "Tensor":
        return self._binary("Mul", other)

    def __rmul__(self, other: Operand) -> "Tensor":
        return self._binary("Mul", other)

    def __sub__(self, other: Operand) -> "Tensor":
        return self._binary("Sub", other)

    def __rsub__(self, other: Operand) -> "Tensor":
        return self.like(other)._binary("Sub", self)

    def __truediv__(self, other: Operand) -> "Tensor":
        return self._binary("Div", other)

    def __rtruediv__(self, other: Operand) -> "Tensor":
        return self.like(other)._binary("Div", self)

    def __mod__(self, other: Operand) -> "Tensor":
        return self._binary("Mod", other)

    def __neg__(self) -> "Tensor":
        return self.builder.node("Neg", [self], self.dtype)

    def like(self, other: Operand) -> "Tensor":
        """A number as a constant of this dtype; a value as it is."""
        if isinstance(other, Tensor):
            return other
        return self.builder.constant(np.asarray(other, self.dtype))

    def _binary(self, kind: str, other: Operand) -> "Tensor":
        return self.builder.node(kind, [self, self.like(other)], self.dtype)


@dataclass
class _Common:
    """What a graph shares with the bodies inside it: names are unique, constants are kept once."""

    constants: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    initializers: list[Any] = field(default_factory=list)
    weights: set[str] = field(default_factory=set)
    count: int = 0


class Builder:
    """Collects the nodes of a graph, or of a loop's body inside one.

    Attributes:
        nodes: in the order in which they were asked for.
    """

    def __init__(self, outer: "Builder | None" = None) -> None:
        self.nodes: list[Any] = []
        self._common: _Common = _Common() if outer is None else outer._common
        self._scope: list[str] = []

    @property
    def initializers(self) -> list[Any]:
        """Constants and weights of the graph and of all bodies in it."""
        return self._common.initializers

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names of the nodes made inside begin with `name/`."""
        self._scope.append(name)
        yield
        self._scope.pop()

    def node(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        dtype: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """A node with one output."""
        (output,) = self.nodes_out(kind, inputs, [dtype], attributes)
        return output

    def nodes_out(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        dtypes: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
    ) -> list[Tensor]:
        """A node with an output for each dtype."""
        self._common.count += 1
        name = "/".join([*self._scope, f"{kind.lower()}_{self._common.count}"])
        names = [name if i == 0 else f"{name}.{i}" for i in range(len(dtypes))]
        made = onnx().helper.make_node(
            kind, [x.name for x in inputs], names, name=name, **(attributes or {})
        )
        self.nodes.append(made)
        return [Tensor(self, each, dtype) for each, dtype in zip(names, dtypes, strict=True)]

    def copy(self, x: Tensor) -> Tensor:
        """The same value as the output of a node here."""
        return self.node("Identity", [x], x.dtype)

    def constant(self, value: Array) -> Tensor:
        """A constant array; equal ones are kept once."""
        value = np.asarray(value, order="C")
        key = (value.dtype.name, value.shape, value.tobytes())
        if key not in self._common.constants:
            name = f"constant_{len(self._common.constants)}"
            self._common.constants[key] = name
            self._keep(name, value)
        return Tensor(self, self._common.constants[key], value.dtype.name)

    def weight(self, name: str, value: Array) -> Tensor:
        """A named parameter of the model, in float32."""
        if name not in self._common.weights:
            self._common.weights.add(name)
            self._keep(name, np.asarray(value, np.float32, order="C"))
        return Tensor(self, name, "float32")

    def outer(self, x: Tensor) -> Tensor:
        """A value of the graph around this body, to be used in it."""
        return Tensor(self, x.name, x.dtype)

    def _keep(self, name: str, value: Array) -> None:
        self._common.initializers.append(onnx().numpy_helper.from_array(value, name))
