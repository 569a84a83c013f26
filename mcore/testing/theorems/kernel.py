"""Someone else's kernel, asked through a narrow contract and held to it.

    forward(inputs, lengths) -> y
    backward(inputs, lengths, dy) -> dict of gradients

`inputs` is a dict of the arrays that `mcore.memory(...).inputs` declares, `lengths` a list of the
segments' lengths (whole numbers, the same for all rows). What goes wrong in a kernel (an exception,
another shape, NaN, no end) is a `Fault`: a finding about the kernel, never an error of the tool.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.axes import make_readout, make_recurrence
from mcore.compose import STARTS
from mcore.errors import SpecError
from mcore.testing.agreement import Memory
from mcore.testing.choices import Axis
from mcore.testing.strategies import Composition
from mcore.testing.theorems.case import Axes, Case
from mcore.testing.theorems.exchange import Exchange
from mcore.testing.theorems.limit import guarded
from mcore.testing.theorems.subject import Given
from mcore.testing.theorems.violation import Endless, Fault

Forward = Callable[[dict[str, Any], list[int]], Any]
Backward = Callable[[dict[str, Any], list[int], Any], Any]

Y = "B T H V"
LIMIT, AFTER_HANG = 25.0, 1.0
"""Seconds: the first call may compile."""


class Kernel:
    """A foreign kernel and what it claims to compute.

    Args:
        forward, backward: of the contract above; without a backward, only y is checked.
        recurrence, readout: a kind, or a dict with `kind` and options.
        start: `independent` or `checkpoint`.
        exchange: layout, library and dtype of its arrays.

    Attributes:
        name: what reports call it.
        limit: seconds that a call may take; fewer once one has not come back.

    Raises:
        SpecError: an unknown kind, option or start.
    """

    def __init__(
        self,
        forward: Forward,
        backward: Backward | None = None,
        *,
        recurrence: Axis = "linear",
        readout: Axis = "grm",
        start: str = "independent",
        exchange: Exchange | None = None,
    ) -> None:
        make_recurrence(recurrence)
        make_readout(readout)
        if start not in STARTS:
            raise SpecError(f"start: {start!r} is unknown; {' or '.join(STARTS)} would do")
        self.name = f"{forward.__module__}:{getattr(forward, '__qualname__', forward)}"
        self.exchange = exchange or Exchange()
        self.dtype = self.exchange.dtype
        self.limit = LIMIT
        self._forward, self._backward = forward, backward
        self._axes = (Axes(recurrence, readout, start),)

    @property
    def axes(self) -> tuple[Axes, ...]:
        """The one composition that it computes."""
        return self._axes

    @property
    def lacks(self) -> dict[str, str]:
        """What the contract, or this kernel, has not."""
        lacks = {
            "stream": "a kernel has no streaming form",
            "documents": "a kernel takes no documents",
        }
        return lacks if self._backward else lacks | {"backward": "no backward was given"}

    def typed(self, dtype: str) -> "Kernel":
        """The same kernel, given arrays of another dtype."""
        other = copy(self)
        other.exchange, other.dtype = replace(self.exchange, dtype=dtype), dtype
        return other

    def make(self, composition: Composition) -> Memory:
        """A kernel is no memory."""
        raise NotImplementedError

    def give(self, case: Case) -> Given:
        """The arrays of a case as the kernel wants them."""
        inputs = {
            name: self.exchange.give(array, case.declared[name])
            for name, array in case.inputs.items()
        }
        return Given(inputs, list(case.lengths), self.exchange.give(case.dy, Y))

    def held(self, given: Given, case: Case) -> dict[str, Array]:
        """What the arrays hold now."""
        declared = case.declared | {"dy": Y}
        arrays = given.inputs | {"dy": given.dy}
        return {name: self.exchange.take(arrays[name], axes) for name, axes in declared.items()}

    def answer(self, given: Given, case: Case) -> Array:
        """y for inputs that are handed over as they are."""
        y = self._call("forward", self._forward, given.inputs, given.lengths)
        return self._checked(y, Y, (*case.sizes[:3], case.sizes.V), "y")

    def gradients(self, given: Given, case: Case) -> dict[str, Array]:
        """Gradients for inputs that are handed over as they are."""
        assert self._backward is not None
        found = self._call("backward", self._backward, *given)
        if not isinstance(found, Mapping):
            raise Fault(f"backward returned a {type(found).__name__}; a dict of gradients would do")
        for name in case.inputs:
            if name not in found:
                names = ", ".join(map(str, found)) or "none"
                raise Fault(f"backward returned no gradient of {name}; it returned: {names}")
        return {
            name: self._checked(found[name], axes, case.inputs[name].shape, f"gradient of {name}")
            for name, axes in case.declared.items()
        }

    def _call(self, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return guarded(what, self.limit, lambda: function(*arguments))
        except Endless:
            self.limit = min(self.limit, AFTER_HANG)
            raise

    def _checked(self, value: Any, axes: str, shape: tuple[int, ...], what: str) -> Array:
        if value is None:
            raise Fault(f"{what}: None was returned; an array would do")
        array = self.exchange.take(value, axes)
        if array.shape != shape:
            raise Fault(f"{what}: shape {array.shape}, expected ({axes}) = {shape}")
        if array.dtype.kind not in "fiu" and array.dtype.name != "bfloat16":
            raise Fault(f"{what}: holds {array.dtype}; {self.dtype} would do")
        bad = ~np.isfinite(array)
        if bad.any():
            first = ", ".join(str(int(i[0])) for i in np.nonzero(bad))
            raise Fault(
                f"{what}: {int(bad.sum())} of {bad.size} not finite, the first at [{first}]"
            )
        return array
