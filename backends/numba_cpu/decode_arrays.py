"""Between a `MemoryState` and the arrays that decoding kernels work on.

Rows of states get zeros behind them, up to whole vectors; checkpoints of a row and head are next to
each other; contexts become columns of panels.
"""

from math import prod
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.numba_cpu.decode_codes import viewed
from mcore.backends.numba_cpu.decode_emit import PAD
from mcore.backends.numba_cpu.decode_plan import looks_at_use, plan_of, reals_of
from mcore.backends.numba_cpu.decode_work import (
    BOOKS,
    COUNT,
    FACTORS,
    FORM,
    HEAD,
    LAW,
    LENGTH,
    MIXED,
    MONETA,
    PANEL,
    POSITION,
    WIDTH,
    Memory,
)
from mcore.cache import MemoryState

PER_SLOT = ("codes", "scales", "norms", "floors", "used")
"""Arrays (B, H, slots, ...), or empty."""

SHARED = ("plan", "reals")
"""Entries of a `Memory` that are the same for all rows."""

LINE = 64
"""Bytes that the processor moves at once: a vector across two lines takes twice as long."""


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that begin with a line."""
    size = prod(shape) * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, np.uint8)
    begin = -room.ctypes.data % LINE
    return room[begin : begin + size].view(dtype).reshape(shape)


def empty_memory(decoding: Decoding, like: MemoryState, slots: int) -> Memory:
    """A memory with room for `slots` checkpoints; `like` is a state of its sizes and dtypes."""
    plan, dtype, dims = plan_of(decoding), like.online.dtype, decoding.dims
    rows, width = decoding.rule.state_shape(dims)
    padded, lead = -(-width // PAD) * PAD, like.online.shape[:2]
    held = slots if decoding.readout.reads_cache else 0
    scaled = rows if like.scales.shape[-1] else 0
    panels = -(-held // PANEL) if like.contexts.shape[-1] else 0
    mixed = rows if plan[FORM] == MIXED else 0
    return Memory(
        plan=plan,
        reals=reals_of(decoding),
        closes=np.zeros(lead[0], np.bool_),
        books=np.zeros((*lead, BOOKS), np.int64),
        online=aligned((*lead, rows, padded), dtype),
        keys=np.zeros((*lead, like.keys.shape[-1]), dtype),
        codes=aligned((*lead, held, rows, padded), viewed(like.checkpoints).dtype),
        scales=np.zeros((*lead, held, scaled), dtype),
        contexts=aligned((*lead, panels, dims.K, PANEL), dtype),
        norms=np.zeros((*lead, held), np.float32),
        floors=np.zeros((*lead, held if decoding.rule.kind == "mlstm" else 0), dtype),
        total=np.zeros((*lead, mixed, padded)),
        mixture=aligned((*lead, mixed, padded), dtype),
        used=np.zeros((*lead, held if looks_at_use(decoding) else 0)),
        factors=np.zeros((*lead, FACTORS if plan[LAW] == MONETA else 0), dtype),
    )


def grown(memory: Memory, slots: int) -> Memory:
    """The same memory with room for more checkpoints; it has evicted none yet."""
    held = memory.codes.shape[2]
    longer: dict[str, Any] = {name: _longer(getattr(memory, name), slots) for name in PER_SLOT}
    panels = -(-slots // PANEL) if memory.contexts.size else 0
    longer["contexts"] = _longer(memory.contexts, panels)
    for name in ("floors", "used"):
        if getattr(memory, name).shape[2] != held:
            longer[name] = getattr(memory, name)
    return memory._replace(**longer)


def _longer(x: Array, slots: int) -> Array:
    wide = aligned((*x.shape[:2], slots, *x.shape[3:]), x.dtype)
    wide[:, :, : x.shape[2]] = x
    return wide


def row_of(memory: Memory, row: int) -> Memory:
    """One row of a memory, as a memory; no copy."""
    entries = memory._asdict()
    return Memory(**{n: x if n in SHARED else x[row : row + 1] for n, x in entries.items()})


def heads(state: MemoryState, slots: int) -> Array:
    """(B,) the slot of each row's oldest checkpoint, if there are `slots` and never more.

    Where a stream that was never moved has it, as far as can be told: answers are then summed in
    the same order, and a stream that goes on from a state gives the same bits.
    """
    if not state.ledger.shape[1] or state.ledger.shape[1] < slots:
        return np.zeros(len(state.count), np.int64)
    tokens = state.ledger[:, :, 0]
    regular = (state.count == slots) & (tokens == tokens[:, -1:]).all(axis=1)
    closed = (state.position - state.length) // np.maximum(tokens[:, -1], 1).astype(np.int64)
    return np.where(regular, closed % slots, 0)


def fill(memory: Memory, state: MemoryState, head: Array) -> None:
    """Take over a state that fits, with the oldest checkpoints in the slots `head` (B,)."""
    rows, width = memory.online.shape[2], _width(memory)
    memory.online[..., :width] = _matrices(state.online, rows)
    memory.keys[:] = state.keys
    memory.factors[...] = memory.used[...] = 0
    memory.books[..., LENGTH] = state.length[:, None]
    memory.books[..., POSITION] = state.position[:, None]
    memory.books[..., COUNT] = state.count[:, None]
    memory.books[..., HEAD] = head[:, None]
    slots = memory.codes.shape[2]
    if not slots:
        return
    for row, count in enumerate(state.count.tolist()):
        begin = state.checkpoints.shape[1] - count
        place = (head[row] + np.arange(count)) % slots
        stored = viewed(state.checkpoints[row, begin:].swapaxes(0, 1))
        memory.codes[row][:, place, :, :width] = _matrices(stored, rows)
        if memory.scales.shape[-1]:
            memory.scales[row][:, place] = state.scales[row, begin:].swapaxes(0, 1)
        for age, slot in enumerate(place.tolist() if memory.contexts.size else ()):
            context = state.contexts[row, begin + age]
            memory.contexts[row, :, slot // PANEL, :, slot % PANEL] = context


def drained(memory: Memory, ledger: Array, like: MemoryState) -> MemoryState:
    """The state that a memory holds; ledger (B, slots, 3) has its checkpoints' books."""
    if memory.factors.size:
        settled(memory)
    width, books = _width(memory), memory.books[:, 0]
    count = books[:, COUNT]
    held = int(count.max()) if memory.codes.shape[2] else 0
    age = np.arange(held) - (held - count[:, None])
    slot = np.where(age >= 0, (books[:, HEAD, None] + age) % max(memory.codes.shape[2], 1), -1)
    codes = _picked(memory.codes, slot)[..., :width]
    flat = codes.reshape(*codes.shape[:3], like.online.shape[-1])
    return MemoryState(
        online=memory.online[..., :width].reshape(*like.online.shape).copy(),
        checkpoints=flat.view(like.checkpoints.dtype),
        scales=_picked(memory.scales.astype(np.float32), slot),
        contexts=_picked(_contexts(memory), slot),
        ledger=_picked(ledger[:, None], slot)[:, :, 0],
        keys=memory.keys.copy(),
        position=books[:, POSITION].copy(),
        length=books[:, LENGTH].copy(),
        count=count.copy(),
        document=like.document,
        origin=like.origin,
    )


def settled(memory: Memory) -> None:
    """Put what Moneta's weights follow from where states have them."""
    from mcore.backends.numba_cpu.decode_moneta import settle_kernel

    settle_kernel(memory)


def _picked(x: Array, slot: Array) -> Array:
    """(B, H, slots, ...) to (B, C, H, ...) in the order of age; zeros where a row has fewer."""
    rows = np.arange(len(slot))[:, None]
    picked = x.swapaxes(1, 2)[rows, slot] if slot.shape[1] else x.swapaxes(1, 2)[:, :0]
    picked[slot < 0] = 0
    return picked


def _contexts(memory: Memory) -> Array:
    """(B, H, slots, K); K = 0 if there are none."""
    lead, keys = memory.contexts.shape[:2], memory.keys.shape[-1]
    if not keys:
        return np.zeros((*lead, memory.codes.shape[2], 0), memory.online.dtype)
    slots = memory.contexts.shape[2] * PANEL
    return memory.contexts.swapaxes(-1, -2).reshape(*lead, slots, keys)


def _width(memory: Memory) -> int:
    return int(memory.plan[WIDTH])


def _matrices(flat: Array, rows: int) -> Array:
    """(..., P) to (..., rows, P / rows)."""
    return flat.reshape(*flat.shape[:-1], rows, flat.shape[-1] // rows)
