"""Between a `MemoryState` and the arrays on the device that decoding kernels work on."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.backends.cupy_gpu.decode_books import (
    BOOKS,
    COUNT,
    LENGTH,
    POSITION,
    HostBooks,
    slots_by_age,
)
from mcore.backends.cupy_gpu.device import Device
from mcore.cache import MemoryState
from mcore.placing import like

PER_SLOT = ("checkpoints", "scales", "contexts")
"""Arrays (B, H, slots, ...)."""


class Memory(NamedTuple):
    """Arrays on the device; a checkpoint lies in slot `(head + age) % slots`.

    Attributes:
        online: (B, H, P).
        keys: (B, H, K) key sum of the open segment; of width 0 without routing.
        checkpoints: (B, H, slots, P) as stored.
        scales: (B, H, slots, rows of a state) float32 of an int8 cache, else of width 0.
        contexts: (B, H, slots, K).
        books: (B, H, BOOKS) int32, the same in all heads of a row.
        closes: (B, H) int32, whether the segment ends after the next token.
    """

    online: Array
    keys: Array
    checkpoints: Array
    scales: Array
    contexts: Array
    books: Array
    closes: Array

    @property
    def slots(self) -> int:
        """Room for so many checkpoints."""
        return int(self.checkpoints.shape[2])


def taken(device: Device, state: MemoryState, books: HostBooks) -> Memory:
    """A memory with room for as many checkpoints as `books`, that goes on from a state."""
    xp, (rows, heads, _) = device.xp, state.online.shape
    room: dict[str, Any] = {}
    for name in PER_SLOT:
        x = getattr(state, name)
        room[name] = xp.zeros((rows, heads, books.slots, x.shape[-1]), x.dtype)
    memory = Memory(
        online=state.online.copy(),
        keys=state.keys.copy(),
        books=xp.zeros((rows, heads, BOOKS), "int32"),
        closes=xp.zeros((rows, heads), "int32"),
        **room,
    )
    memory.books[...] = device.upload(books.numbers.astype(np.int32))[:, None]
    for row in range(rows if books.slots else 0):
        _put_checkpoints(memory, row, state, row)
    return memory


def put(device: Device, memory: Memory, row: int, state: MemoryState, books: HostBooks) -> None:
    """Overwrite one row by the state of a batch of one, of which `books` know already."""
    memory.online[row], memory.keys[row] = state.online[0], state.keys[0]
    if memory.slots:
        _put_checkpoints(memory, row, state, 0)
    memory.books[row] = device.upload(books.numbers[row].astype(np.int32))


def grown(device: Device, memory: Memory, slots: int) -> Memory:
    """The same memory with more room; it has evicted none yet."""
    longer: dict[str, Any] = {}
    for name in PER_SLOT:
        x: Any = getattr(memory, name)
        longer[name] = device.xp.zeros((*x.shape[:2], slots, x.shape[3]), x.dtype)
        longer[name][:, :, : x.shape[2]] = x
    return memory._replace(**longer)


def drained(memory: Memory, books: HostBooks, document: Array, origin: str) -> MemoryState:
    """The state that a memory holds; a copy."""
    numbers, slot = books.numbers, slots_by_age(books)
    return MemoryState(
        online=memory.online.copy(),
        checkpoints=_picked(memory.checkpoints, slot),
        scales=_picked(memory.scales, slot),
        contexts=_picked(memory.contexts, slot),
        ledger=books.picked(slot),
        keys=memory.keys.copy(),
        position=numbers[:, POSITION].copy(),
        length=numbers[:, LENGTH].copy(),
        count=numbers[:, COUNT].copy(),
        document=document,
        origin=origin,
    )


def row_of(memory: Memory, row: int) -> Memory:
    """One row of a memory, as a memory; no copy."""
    return Memory(*(x[row : row + 1] for x in memory))


def _put_checkpoints(memory: Memory, row: int, state: MemoryState, source: int) -> None:
    """A row's checkpoints, the oldest in the first slot."""
    count = int(state.count[source])
    begin = state.checkpoints.shape[1] - count
    for name in PER_SLOT if count else ():
        to: Any = getattr(memory, name)
        to[row, :, :count] = getattr(state, name)[source, begin:].swapaxes(0, 1)


def _picked(x: Any, slot: Array) -> Array:
    """(B, H, slots, ...) to (B, C, H, ...) by slot (B, C); zeros where that is -1."""
    if not slot.shape[1] or not x.shape[3]:
        nothing: Array = namespace(x).zeros((*slot.shape, x.shape[1], x.shape[3]), x.dtype)
        return nothing
    rows = np.arange(len(slot))[:, None]
    picked: Array = x.swapaxes(1, 2)[like(x, rows), like(x, np.maximum(slot, 0))]
    if (slot < 0).any():
        seen = like(x, slot >= 0).reshape(*slot.shape, *[1] * (x.ndim - 2))
        picked = namespace(x).where(seen, picked, 0)
    return picked
