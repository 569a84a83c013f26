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
    """What `Memory.stream` is, for a vector rule, H = 1 and segmentation `none`."""

    def __init__(self, memory: Memory, state: MemoryState | None) -> None:
        self.memory, self._state, self._checked = memory, state, False
        self._online, self._since = np.zeros(0), 0

    @classmethod
    def serves(cls, memory: Memory) -> bool:
        """Whether a memory is never cut, and needs nothing beside the rule's inputs."""
        alone = set(memory.inputs) == set(memory.rule.inputs)
        return alone and memory.segmentation.kind == "none" and memory.backend.xp is np

    @property
    def state(self) -> MemoryState | None:
        """Where the stream is; None before the first token."""
        if self._state is None or not self._since:
            return self._state
        return replace(
            self._state,
            online=self._online.reshape(self._state.online.shape),
            position=self._state.position + self._since,
            length=self._state.length + self._since,
        )

    def feed(self, inputs: Mapping[str, Array]) -> Array:
        """y (B, T, 1, V) of the next tokens.

        Raises:
            ShapeError: another number of rows than before.
            InputError: the state to begin from is of another memory.
        """
        x = inputs["x"]
        rows, tokens = x.shape[:2]
        large = tokens > FEW or rows * tokens * inputs["recurrent"].size > SMALL
        if large or not self._checked or len(self._online) != rows:
            return self._whole(inputs)
        rule, online, outputs = self.memory.rule, self._online, []
        for t in range(tokens):
            online = rule.step(online, {**inputs, "x": x[:, t]})
            outputs.append(online[:, None, :, 0])
        self._online, self._since = online, self._since + tokens
        return np.concatenate(outputs, axis=1)

    def _whole(self, inputs: Mapping[str, Array]) -> Array:
        """Through the kernels, which check the state."""
        y, state = self.memory.step(inputs, self.state)
        self._state, self._checked = state, True
        self._online, self._since = self.memory.rule.unflatten(state.online, 0), 0
        return y
