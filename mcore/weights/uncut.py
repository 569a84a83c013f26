"""A stream through a vector memory that is never cut: the rule's own step, one token at a time.

A memory's kernels are made for many tokens; what surrounds them takes longer than one token of one
row. Where nothing is cut there is nothing to cache and nothing to read but h, and a token is
`Recurrence.step`. Long or wide pieces go to the kernels all the same.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcore.arrays import Array
from mcore.cache import MemoryState
from mcore.memory_layer import Memory

FEW, SMALL = 12, 1 << 20
"""Tokens, and multiplications of all of them together, up to which the step is faster."""


class UncutStream:
    """What `Memory.stream` is, for a vector rule, H = 1 and segmentation `none`.

    Attributes:
        state: where the stream is; None before the first token.
    """

    def __init__(self, memory: Memory, state: MemoryState | None) -> None:
        self.memory, self.state, self._checked = memory, state, False

    @classmethod
    def serves(cls, memory: Memory) -> bool:
        """Whether a memory is never cut, and needs nothing beside the rule's inputs."""
        alone = set(memory.inputs) == set(memory.rule.inputs)
        return alone and memory.segmentation.kind == "none" and memory.backend.xp is np

    def feed(self, inputs: Mapping[str, Array]) -> Array:
        """y (B, T, 1, V) of the next tokens.

        Raises:
            ShapeError: another number of rows than before.
            InputError: the state to begin from is of another memory.
        """
        x, state = inputs["x"], self.state
        rows, tokens = x.shape[:2]
        work = rows * tokens * inputs["recurrent"].size
        usual = self._checked and state is not None and len(state.online) == rows
        if state is None or not usual or tokens > FEW or work > SMALL:
            y, self.state = self.memory.step(inputs, state)
            self._checked = True
            return y
        rule, outputs = self.memory.rule, []
        online = rule.unflatten(state.online, 0)
        for t in range(tokens):
            online = rule.step(online, {**inputs, "x": x[:, t]})
            outputs.append(online[..., 0, :])
        self.state = replace(
            state,
            online=online.reshape(state.online.shape),
            position=state.position + tokens,
            length=state.length + tokens,
        )
        return np.stack(outputs, axis=1)
