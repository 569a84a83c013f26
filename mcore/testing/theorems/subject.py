"""Who is asked: anything that answers a case with y and gradients."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from mcore.arrays import Array
from mcore.compose import memory
from mcore.testing.agreement import Make
from mcore.testing.strategies import Composition
from mcore.testing.theorems.case import Axes, Case


class Tolerances(NamedTuple):
    """Largest relative errors: of y, of gradients, and of gradients beside difference quotients."""

    y: float
    gradient: float
    difference: float


TOLERANCES = {
    "float64": Tolerances(1e-9, 1e-8, 1e-6),
    "float32": Tolerances(2e-4, 5e-4, 3e-2),
}
"""As the library's own tests allow: sums in another order, amplified by a rule or a ratio."""


class Subject(Protocol):
    """What theorems are checked on.

    Attributes:
        name: as a report calls it.
        dtype: `float32` or `float64`.
        axes: the compositions that it computes.
        lacks: what it cannot do, in words: of `backward`, `stream` and `documents`.
    """

    name: str
    dtype: str

    @property
    def axes(self) -> tuple[Axes, ...]: ...
    @property
    def lacks(self) -> dict[str, str]: ...
    def forward(self, case: Case) -> Array:
        """y (B, T, H, V)."""

    def backward(self, case: Case) -> dict[str, Array]:
        """A gradient for every input, given `case.dy`."""


class Memories:
    """The memories of a backend: they answer cases, stream, and keep documents apart."""

    def __init__(self, name: str, dtype: str, axes: tuple[Axes, ...]) -> None:
        self.name, self.dtype, self._axes = name, dtype, axes
        self.make: Make = self._make

    @property
    def axes(self) -> tuple[Axes, ...]:
        """The compositions that are asked for."""
        return self._axes

    @property
    def lacks(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def forward(self, case: Case) -> Array:
        """y (B, T, H, V)."""
        return self.make(case.composition).forward(case.inputs)[0]

    def backward(self, case: Case) -> dict[str, Array]:
        """A gradient for every input."""
        layer = self.make(case.composition)
        y, saved = layer.forward(case.inputs)
        gradients = layer.backward(saved, case.dy.astype(y.dtype))
        return {name: gradients[name] for name in case.inputs}

    def _make(self, composition: Composition) -> Any:
        return memory(**composition, backend=self.name, dtype=self.dtype)


REFERENCE = Memories("reference", "float64", ())
"""The definition."""


def tolerances(subject: Subject) -> Tolerances:
    """How far the answers of a subject may be off."""
    return TOLERANCES[subject.dtype]


def want(case: Case) -> Array:
    """y of the reference."""
    return np.asarray(REFERENCE.forward(case))
