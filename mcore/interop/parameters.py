"""Starting values of what a memory takes whole: its inputs without T."""

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from mcore.arrays import Array
from mcore.recurrence import Parameter

if TYPE_CHECKING:
    from mcore.memory_layer import Memory


def parameter_names(memory: "Memory") -> list[str]:
    """The entries of `memory.inputs` that are the same for all tokens."""
    return [name for name, axes in memory.inputs.items() if "T" not in axes.split()]


def start_parameters(
    memory: "Memory", heads: int, key: int, value: int, *, seed: int = 0
) -> dict[str, Array]:
    """Starting values of a memory's parameters, as mcore's own models have them.

    Args:
        memory: the composition.
        heads, key, value: H, K and V.
        seed: of the random numbers.

    Returns:
        An array in the memory's dtype for each input without T; none for most matrix memories.
    """
    rng = np.random.default_rng(seed)
    lengths = memory.rule.sizes(key, value) | {"H": heads}
    laws = memory.rule.features | memory.readout.features
    found = {}
    for name in parameter_names(memory):
        law = laws[name]
        assert isinstance(law, Parameter)
        axes = memory.inputs[name].split()
        shape = tuple(prod(lengths[letter] for letter in axis.split("*")) for axis in axes)
        found[name] = law.start(rng, shape).astype(memory.dtype)
    return found


def is_trained(memory: "Memory", name: str) -> bool:
    """Whether mcore's own models train a parameter, or leave it as it starts."""
    law = (memory.rule.features | memory.readout.features)[name]
    return isinstance(law, Parameter) and law.trained
