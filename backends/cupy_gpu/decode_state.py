"""Between a `MemoryState` and the arrays on the device that decoding kernels work on."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.cache import LEDGER, MemoryState

BOOKS = 4
COUNT, HEAD, LENGTH, POSITION = range(BOOKS)


class Memory(NamedTuple):
    """Arrays on the device; a checkpoint lies in slot `(head + age) % slots`.

    Attributes:
        online: (B, H, P).
        keys: (B, H, K) key sum of the open segment; of width 0 without routing.
        checkpoints: (B, H, slots, P).
        contexts: (B, H, slots, K).
        books: (B, BOOKS) int32.
        closes: (B,) int32, rows whose segment ends after the next token.
    """

    online: Array
    keys: Array
    checkpoints: Array
    contexts: Array
    books: Array
    closes: Array

    @property
    def slots(self) -> int:
        """Room for so many checkpoints."""
        return int(self.checkpoints.shape[2])


def taken(device: Device, state: MemoryState, slots: int) -> Memory:
    """A memory with room for `slots` checkpoints that goes on from a state of no more."""
    xp, (rows, heads, size) = device.xp, state.online.shape
    held = state.checkpoints.shape[1] if slots else 0
    checkpoints = xp.zeros((rows, heads, slots, size), state.online.dtype)
    contexts = xp.zeros((rows, heads, slots, state.contexts.shape[-1]), state.online.dtype)
    if held:
        checkpoints[:, :, :held] = state.checkpoints.swapaxes(1, 2)
        contexts[:, :, :held] = state.contexts.swapaxes(1, 2)
    books = np.zeros((rows, BOOKS), np.int32)
    books[:, COUNT], books[:, HEAD] = state.count if slots else 0, held - state.count if held else 0
    books[:, LENGTH], books[:, POSITION] = state.length, state.position
    closes = device.upload(np.zeros(rows, np.int32))
    return Memory(
        state.online.copy(), state.keys.copy(), checkpoints, contexts, device.upload(books), closes
    )


def grown(device: Device, memory: Memory, slots: int) -> Memory:
    """The same memory with more room; it has evicted none yet."""
    longer = {}
    for name in ("checkpoints", "contexts"):
        x: Any = getattr(memory, name)
        longer[name] = device.xp.zeros((*x.shape[:2], slots, x.shape[3]), x.dtype)
        longer[name][:, :, : x.shape[2]] = x
    return memory._replace(**longer)


def drained(device: Device, memory: Memory, ledger: Array, like: MemoryState) -> MemoryState:
    """The state that a memory holds; ledger (B, slots, 3), on the host, is of its slots."""
    books = device.download(memory.books).astype(np.int64)
    count, slots = books[:, COUNT], memory.slots
    held = int(count.max()) if slots else 0
    age = np.arange(held) - (held - count[:, None])
    slot = np.where(age >= 0, (books[:, HEAD, None] + age) % max(slots, 1), 0)
    seen = (age >= 0).astype(memory.online.dtype)
    rows = np.arange(len(slot))[:, None]
    picked = ledger[rows, slot] if held else np.zeros((len(slot), 0, LEDGER))
    return MemoryState(
        online=memory.online.copy(),
        checkpoints=_picked(device, memory.checkpoints, slot, seen),
        scales=device.xp.zeros((len(slot), held, *like.scales.shape[2:]), like.scales.dtype),
        contexts=_picked(device, memory.contexts, slot, seen),
        ledger=picked * (age >= 0)[..., None],
        keys=memory.keys.copy(),
        position=books[:, POSITION],
        length=books[:, LENGTH],
        count=count.copy(),
        document=like.document,
        origin=like.origin,
    )


def _picked(device: Device, x: Array, slot: Array, seen: Array) -> Array:
    """(B, H, slots, W) to (B, C, H, W) in the order of age; zeros where a row has fewer."""
    rows = device.upload(np.arange(len(slot))[:, None])
    picked: Array = x.swapaxes(1, 2)[rows, device.upload(slot)]
    return picked * device.upload(seen[..., None, None])
