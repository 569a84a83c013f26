"""What a call of an RNN is given, checked and made ready for the memory of each layer."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, as_array
from mcore.errors import InputError, ShapeError
from mcore.memory_layer import Memory
from mcore.weights.gates import Layer


def added(memory: Memory) -> dict[str, str]:
    """What readout and segmentation need besides the rule's inputs: name -> axes."""
    return {n: axes for n, axes in memory.inputs.items() if n not in memory.rule.inputs}


def check_tokens(x: object, features: int, dtype: str) -> Array:
    """x as an array of `dtype`; raises ShapeError unless it is (B, T, features)."""
    array = as_array("x", x, dtype, np)
    if array.ndim != 3 or array.shape[2] != features or not array.size:
        wanted = f"(B, T, C) with C = {features} and no axis of length 0"
        raise ShapeError(f"x: shape {array.shape}, expected {wanted}")
    return array


class Given(NamedTuple):
    """The further inputs of a call.

    Attributes:
        layers: for each layer, the arrays under the memory's names.
    """

    layers: list[dict[str, Any]]

    @classmethod
    def of(
        cls,
        further: Mapping[str, object] | None,
        declared: Mapping[str, str],
        layers: Sequence[str],
    ) -> "Given":
        """From arrays whose names end in the layer's suffix.

        Raises:
            InputError: one is missing, or nothing asks for it.
        """
        given = dict(further or {})
        wanted = {name + suffix: axes for suffix in layers for name, axes in declared.items()}
        if set(given) != set(wanted):
            words = ", ".join(f"{n} ({axes})" for n, axes in wanted.items()) or "nothing"
            raise InputError(f"further: has {', '.join(given) or 'nothing'}; it needs {words}")
        return cls([{name: given[name + suffix] for name in declared} for suffix in layers])

    def inputs(self, n: int, layer: Layer, h: Array) -> tuple[dict[str, Any], Any]:
        """The memory's inputs in layer n for what comes from below, and what goes back to it."""
        gates, projected = layer.gates(h)
        return {"x": gates, **layer.fixed, **self.layers[n]}, projected
