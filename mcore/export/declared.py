"""What is said of a tensor that goes into a graph or comes out of it."""

from dataclasses import dataclass, replace
from math import prod

from mcore.recurrence import Dims, Recurrence

NEXT = "next."
"""Before the name of a state: its value after the token."""


@dataclass(frozen=True)
class Declared:
    """A named tensor.

    Attributes:
        name: of the graph's input or output.
        axes: letters for the axes, as everywhere in mcore: `"B H K V"`.
        shape: length of each axis; `"B"` and `"T"` are free.
        meaning: in words.
        dtype: of NumPy.
    """

    name: str
    axes: str
    shape: tuple[int | str, ...]
    meaning: str
    dtype: str = "float32"

    @property
    def after(self) -> "Declared":
        """The same state after the token."""
        return replace(self, name=NEXT + self.name)

    @property
    def over_time(self) -> "Declared":
        """The same for every token of a sequence: a T axis after B."""
        axes = " ".join(["B", "T", *self.axes.split()[1:]])
        return replace(self, axes=axes, shape=("B", "T", *self.shape[1:]))

    def below(self, scope: str) -> "Declared":
        """The same, told from further up."""
        return replace(self, name=f"{scope}.{self.name}")


def of_axes(name: str, axes: str, lengths: dict[str, int], meaning: str) -> Declared:
    """A float32 tensor whose axes have these lengths; B and T are free."""
    shape = tuple(
        axis if axis in ("B", "T") else prod(lengths[letter] for letter in axis.split("*"))
        for axis in axes.split()
    )
    return Declared(name, axes, shape, meaning)


def lengths_of(rule: Recurrence, dims: Dims) -> dict[str, int]:
    """Lengths of the axes that a rule declares its inputs by."""
    return {"H": dims.H, "K": dims.K, "V": dims.V, "E": dims.E, **rule.fixed}
