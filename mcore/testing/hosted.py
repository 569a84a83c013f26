"""Memories whose answers lie on the host, wherever they were computed."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.cache import MemoryState
from mcore.placing import to_host
from mcore.testing.agreement import Memory


def hosted(memory: Memory, xp: ModuleType) -> Memory:
    """The memory, whose arrays are of library `xp`; its answers as NumPy arrays, if they are none.

    States and what `backward` needs stay where they are: streams go on as they would.
    """
    return memory if xp is np else _Hosted(memory)


class _Hosted:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def forward(
        self, inputs: Mapping[str, Array], state: Any = None, *, document: Any = None
    ) -> tuple[Array, Any]:
        y, saved = self._memory.forward(inputs, state, document=document)
        return to_host(y), saved

    def step(
        self, inputs: Mapping[str, Array], state: Any = None, *, document: Any = None
    ) -> tuple[Array, Any]:
        y, state = self._memory.step(inputs, state, document=document)
        return to_host(y), state

    def backward(self, saved: Any, dy: Array, d_end: Any = None) -> dict[str, Any]:
        found = self._memory.backward(saved, dy, d_end)
        return {n: x if isinstance(x, MemoryState) else to_host(x) for n, x in found.items()}

    def stream(self, state: Any = None, *, skip: float | None = None) -> Any:
        return _HostedStream(self._memory.stream(state, skip=skip))


class _HostedStream:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def feed(self, inputs: Mapping[str, object], *, document: object = None) -> Array:
        return to_host(self._stream.feed(inputs, document=document))
