"""How two answers of memories are compared, and how an answer is asked for."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from mcore.arrays import Array
from mcore.placing import to_host
from mcore.testing.strategies import Composition, Example

FLOOR = 1e-2


class Memory(Protocol):
    """What `mcore.memory` returns."""

    def forward(
        self, inputs: Mapping[str, Array], state: Any = None, *, document: Any = None
    ) -> tuple[Array, Any]: ...
    def backward(self, saved: Any, dy: Array, d_end: Any = None) -> dict[str, Any]: ...
    def step(
        self, inputs: Mapping[str, Array], state: Any = None, *, document: Any = None
    ) -> tuple[Array, Any]: ...
    def stream(self, state: Any = None, *, skip: float | None = None) -> Any: ...


Make = Callable[[Composition], Memory]


def relative_error(got: Array, want: Array) -> float:
    """The largest difference over the largest wanted entry, or over 1e-2 if that is larger.

    Arrays of either may lie on a device.

    Inputs are of order one, and some gradients are differences of such numbers that cancel: that of
    q for a normalised memory of one token is nearly zero, and what is left of it is rounding.
    """
    assert got.shape == want.shape, f"shape {got.shape}, wanted {want.shape}"
    got, want = to_host(got), to_host(want)
    difference = np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64))
    return float(np.max(difference) / max(np.max(np.abs(want)), FLOOR))


def assert_agree(got: Array, want: Array, tolerance: float, name: str) -> None:
    """Raise AssertionError unless the relative error is within tolerance; NaN never is."""
    error = relative_error(got, want)
    assert error <= tolerance, f"{name}: relative error {error:.2e}, allowed {tolerance:.0e}"


def change(composition: Composition, name: str, value: Any) -> Composition:
    """The composition with another value on one axis."""
    changed: Composition = {**composition, name: value}  # type: ignore[misc]
    return changed


def pick_inputs(memory: Any, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Those inputs that the memory declares."""
    return {name: inputs[name] for name in memory.inputs}


def output(make: Make, composition: Composition, inputs: Mapping[str, Array]) -> Array:
    """y of a composition, given at least the inputs it needs."""
    memory = make(composition)
    return memory.forward(pick_inputs(memory, inputs))[0]


def answer(memory: Memory, example: Example) -> dict[str, Array]:
    """y and the gradient of every input."""
    y, saved = memory.forward(example.inputs)
    gradients = memory.backward(saved, example.dy.astype(y.dtype))
    return {"y": y} | {name: gradients[name] for name in example.inputs}
