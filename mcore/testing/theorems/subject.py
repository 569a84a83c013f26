"""Who is asked: anything that answers a case with y and gradients."""

from typing import Any, NamedTuple, Protocol

import numpy as np

from mcore.arrays import Array
from mcore.compose import memory
from mcore.testing.agreement import Memory
from mcore.testing.hosted import hosted
from mcore.testing.strategies import Composition
from mcore.testing.theorems.case import Axes, Case
from mcore.testing.theorems.limit import guarded


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


LIMIT = 120.0
"""Seconds for a call of a backend, which may have to compile."""


class Given(NamedTuple):
    """What a subject is handed: its own copies, which it must not write to."""

    inputs: dict[str, Any]
    lengths: list[int]
    dy: Any


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
    def typed(self, dtype: str) -> "Subject":
        """The same with another dtype."""

    def make(self, composition: Composition) -> Memory:
        """A memory, for what only memories can do: `stream` and `documents`."""

    def give(self, case: Case) -> Given:
        """Fresh copies of the arrays of a case, as the subject takes them."""

    def held(self, given: Given, case: Case) -> dict[str, Array]:
        """What the arrays hold now, by name, `dy` among them; views where that can be."""

    def answer(self, given: Given, case: Case) -> Array:
        """y (B, T, H, V)."""

    def gradients(self, given: Given, case: Case) -> dict[str, Array]:
        """A gradient for every input."""


def forward(subject: Subject, case: Case) -> Array:
    """y (B, T, H, V)."""
    return subject.answer(subject.give(case), case)


def backward(subject: Subject, case: Case) -> dict[str, Array]:
    """A gradient for every input, given `case.dy`."""
    return subject.gradients(subject.give(case), case)


class Memories:
    """The memories of a backend: they answer cases, stream, and keep documents apart."""

    def __init__(self, name: str, dtype: str, axes: tuple[Axes, ...]) -> None:
        self.name, self.dtype, self._axes = name, dtype, axes

    @property
    def axes(self) -> tuple[Axes, ...]:
        """The compositions that are asked for."""
        return self._axes

    @property
    def lacks(self) -> dict[str, str]:
        """Nothing."""
        return {}

    def typed(self, dtype: str) -> "Memories":
        """The same with another dtype."""
        return Memories(self.name, dtype, self._axes)

    def give(self, case: Case) -> Given:
        """Copies in the memories' dtype."""
        inputs = {name: array.astype(self.dtype) for name, array in case.inputs.items()}
        return Given(inputs, list(case.lengths), case.dy.astype(self.dtype))

    def held(self, given: Given, case: Case) -> dict[str, Array]:
        """The arrays themselves."""
        return given.inputs | {"dy": given.dy}

    def answer(self, given: Given, case: Case) -> Array:
        """y (B, T, H, V)."""
        layer = self.make(case.composition)
        return np.asarray(guarded("forward", LIMIT, lambda: layer.forward(given.inputs)[0]))

    def gradients(self, given: Given, case: Case) -> dict[str, Array]:
        """A gradient for every input."""
        layer = self.make(case.composition)

        def run() -> dict[str, Any]:
            return layer.backward(layer.forward(given.inputs)[1], given.dy)

        found: dict[str, Array] = guarded("backward", LIMIT, run)
        return {name: found[name] for name in case.inputs}

    def make(self, composition: Composition) -> Memory:
        """A memory of the backend; its answers lie on the host."""
        made = memory(**composition, backend=self.name, dtype=self.dtype)
        return hosted(made, made.backend.xp)


REFERENCE = Memories("reference", "float64", ())
"""The definition."""


def tolerances(subject: Subject) -> Tolerances:
    """How far the answers of a subject may be off."""
    return TOLERANCES[subject.dtype]


def want(case: Case) -> Array:
    """y of the reference."""
    return forward(REFERENCE, case)
