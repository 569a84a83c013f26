"""What other libraries call: a memory or a model as two functions of NumPy arrays by name.

Backward runs the forward again, unless its caller kept what the forward saved. JAX cannot: a
transformation calls the two as often as it likes, in any order, or one of them alone (a traced
function that is never differentiated, a loop that is rematerialised, a mapped call), and what is
held on the host by some handle would leak, or be of other numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mcore.interop.mapped import Arrays, Folding, over_mapped

Saved = Any

SECOND_DERIVATIVES = (
    "second derivatives: mcore's gradients are written by hand, and those of gradients are not; "
    "first derivatives, or an implementation of the layer in your own library, would do"
)


class Axes(NamedTuple):
    """How mapped axes are told and treated; see `mcore.interop.mapped`.

    Attributes:
        ranks: number of axes of each array that are not mapped.
        forward, backward: the foldings that are right, the best first.
    """

    ranks: Mapping[str, int]
    forward: Sequence[Folding]
    backward: Sequence[Folding]


class Host(ABC):
    """Forward and backward of arrays by name, with or without mapped axes in front."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes

    def forward(self, arrays: Arrays) -> Arrays:
        """Outputs by name."""
        axes = self._axes
        return over_mapped(lambda x: self._run(x)[0], arrays, axes.ranks, axes.forward)

    def forward_saved(self, arrays: Arrays) -> tuple[Arrays, Saved]:
        """Outputs, and what spares `backward` the forward; None where axes are mapped."""
        return (self.forward(arrays), None) if self._maps(arrays) else self._run(arrays)

    def backward(self, arrays: Arrays, saved: Saved = None) -> Arrays:
        """Gradients by the names of the inputs, of those inputs and gradients of the outputs."""
        if saved is not None and not self._maps(arrays):
            return self._gradients(arrays, saved)
        axes = self._axes
        return over_mapped(self._gradients_anew, arrays, axes.ranks, axes.backward)

    def _maps(self, arrays: Arrays) -> bool:
        return any(x.ndim > self._axes.ranks[name] for name, x in arrays.items())

    def _gradients_anew(self, arrays: Arrays) -> Arrays:
        return self._gradients(arrays, self._run(arrays)[1])

    @abstractmethod
    def _run(self, arrays: Arrays) -> tuple[Arrays, Saved]:
        """Outputs, and what `_gradients` needs, of arrays without mapped axes."""

    @abstractmethod
    def _gradients(self, arrays: Arrays, saved: Saved) -> Arrays:
        """Gradients of inputs."""
