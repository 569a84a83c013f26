"""A memory's state in arrays of fixed shapes, as loops of other libraries need it.

`MemoryState` grows with every checkpoint. Here there is room for a fixed number of them from the
start; a row's checkpoints are the last `count`, and zeros stand before them.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.cache import LEDGER, MemoryState, compact, expand
from mcore.errors import InputError, SpecError
from mcore.recurrence import Dims
from mcore.segmentation import FOREVER

if TYPE_CHECKING:
    from mcore.memory_layer import Memory

FLOATS = ("online", "checkpoints", "contexts", "keys")
"""What gradients flow through, in the memory's dtype."""

COUNTS = ("position", "length", "count", "document")


class State(NamedTuple):
    """What a memory carries from one call to the next: arrays of the host library.

    Attributes:
        online: (B, H, P) memory of the open segment.
        checkpoints: (B, slots, H, P) the cache as it reads: numbers of the memory's dtype, also
            where the cache stores fewer bytes.
        contexts: (B, slots, H, K) their mean keys (K = 0 if the readout does not route).
        keys: (B, H, K) sum of the keys of the open segment.
        ledger: (B, slots, 3, 2) int32, the bits of the books kept on each checkpoint.
        position, length, count, document: (B,) int32 tokens of the open document and of the open
            segment seen, checkpoints held, and the open document's id.
    """

    online: Any
    checkpoints: Any
    contexts: Any
    keys: Any
    ledger: Any
    position: Any
    length: Any
    count: Any
    document: Any


def slots_needed(memory: "Memory", rows: int, tokens: int | None) -> int:
    """Room for how many checkpoints a stream of so many tokens needs.

    Raises:
        SpecError: the segmentation cannot stream, or nothing bounds the cache and `tokens` is None.
    """
    if not memory.segmentation.streams:
        raise SpecError(
            f"segmentation: {memory.segmentation.kind} cuts depend on the total length, so it "
            "cannot stream; constant, adaptive, given or none would do"
        )
    cuts, limit = memory.segmentation, memory.cache.limit
    if not memory.readout.reads_cache or cuts.remaining(0, 0) == FOREVER:
        return 0
    if tokens is None:
        if limit is None:
            raise SpecError(
                "tokens: the cache grows with the stream, and a state has a fixed shape; the "
                "number of tokens of the longest stream would do, or a memory with a "
                'cache={"limit": ...}'
            )
        return limit
    most = max(len(cuts.borders(row, 0, tokens)) for row in range(rows))
    return most if limit is None else min(most, limit)


def empty(memory: "Memory", dims: Dims, slots: int) -> State:
    """The state before the first token, as NumPy arrays."""
    return pack(memory.empty(dims), slots, memory.dtype)


def pack(state: MemoryState, slots: int, dtype: str) -> State:
    """A memory's state with room for `slots` checkpoints.

    Raises:
        InputError: it holds more.
    """
    held = state.checkpoints.shape[1]
    if held > slots:
        raise InputError(
            f"state: {held} checkpoints, but the state was made with room for {slots}; a larger "
            '`tokens` for `start`, or a memory with a cache={"limit": ...} would do'
        )
    ledger = np.ascontiguousarray(_padded(state.ledger, slots)).view(np.int32)
    return State(
        online=state.online,
        checkpoints=_padded(expand(state.stored, dtype), slots),
        contexts=_padded(state.contexts, slots),
        keys=state.keys,
        ledger=ledger.reshape(len(ledger), slots, LEDGER, 2),
        **{name: getattr(state, name).astype(np.int32) for name in COUNTS},
    )


def unpack(memory: "Memory", state: State, dims: Dims) -> MemoryState:
    """What `pack` packed, without the unused room."""
    count = state.count.astype(np.int64)
    used = slice(state.checkpoints.shape[1] - int(count.max()), None)
    row = memory.rule.state_shape(dims)[-1]
    stored = compact(state.checkpoints[:, used], memory.cache.dtype, row)
    ledger = np.ascontiguousarray(state.ledger[:, used]).view(np.float64)[..., 0]
    return replace(
        memory.empty(dims),
        online=state.online,
        checkpoints=stored.codes,
        scales=stored.scales,
        contexts=state.contexts[:, used],
        keys=state.keys,
        ledger=ledger,
        **{name: getattr(state, name).astype(np.int64) for name in COUNTS},
    )


def unpack_gradient(gradient: dict[str, Array], like: MemoryState) -> MemoryState | None:
    """The gradient of a packed state, for one that was like `like`; None if it is 0."""
    if not any(x.any() for x in gradient.values()):
        return None
    used = slice(gradient["checkpoints"].shape[1] - like.checkpoints.shape[1], None)
    return replace(
        like,
        online=gradient["online"],
        checkpoints=gradient["checkpoints"][:, used],
        contexts=gradient["contexts"][:, used],
        keys=gradient["keys"],
    )


def pack_gradient(d_state: MemoryState, slots: int) -> dict[str, Array]:
    """The gradient of a state, in the shapes of the packed one: 0 for unused room."""
    return {
        "online": d_state.online,
        "checkpoints": _padded(d_state.checkpoints, slots),
        "contexts": _padded(d_state.contexts, slots),
        "keys": d_state.keys,
    }


def _padded(x: Array, slots: int) -> Array:
    """(B, C, ...) to (B, slots, ...), with zeros first."""
    if x.shape[1] == slots:
        return x
    return np.pad(x, ((0, 0), (slots - x.shape[1], 0), *[(0, 0)] * (x.ndim - 2)))
