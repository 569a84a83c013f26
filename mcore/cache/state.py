"""The memory's state between calls: checkpoints, their contexts, and the open segment."""

from dataclasses import dataclass, replace
from math import prod
from types import ModuleType
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.cache.compact import Compact, compact
from mcore.cache.policy import CacheDtype
from mcore.errors import InputError, ShapeError
from mcore.placing import on_host, to_host
from mcore.segments import Progress

LEDGER = 3
"""Numbers known of each checkpoint; see `mcore.cache.settle.Cache`."""

PER_CHECKPOINT = ("checkpoints", "scales", "contexts", "ledger")

FLOATS = ("online", "checkpoints", "scales", "contexts", "keys")
"""What lies where the backend computes; all else is on the host."""


@dataclass(frozen=True)
class MemoryState:
    """Everything a memory carries from one call to the next; also the shape of its gradient.

    Attributes:
        online: (B, H, P) memory of the open segment.
        checkpoints: (B, C, H, P) the cache; a row's checkpoints are its last `count` slots. In the
            cache's dtype (bfloat16 as uint16 codes); of a gradient, in the memory's.
        scales: (B, C, H, rows of a state) of an int8 cache, else of width 0.
        contexts: (B, C, H, K) their mean keys (K = 0 if the readout does not route).
        ledger: (B, C, 3) tokens in each checkpoint, tokens since, and gate mass received; always
            on the host, as are the integers below.
        keys: (B, H, K) sum of the keys of the open segment.
        position: (B,) tokens of the open document seen.
        length: (B,) tokens of the open segment seen; 0 at a border.
        count: (B,) checkpoints held.
        document: (B,) id of the open document.
        origin: the composition it belongs to, in words.
    """

    online: Array
    checkpoints: Array
    scales: Array
    contexts: Array
    ledger: Array
    keys: Array
    position: Array
    length: Array
    count: Array
    document: Array
    origin: str

    @property
    def progress(self) -> Progress:
        """The integers that segmentation needs."""
        return Progress(self.position, self.length, self.count, self.checkpoints.shape[1])

    @property
    def stored(self) -> Compact:
        """The checkpoints as they are stored."""
        return Compact(self.checkpoints, self.scales)

    @property
    def nbytes(self) -> int:
        """Size of the floating-point arrays."""
        return sum(getattr(self, name).nbytes for name in FLOATS)

    def on(self, xp: ModuleType) -> "MemoryState":
        """The same state with its floating-point arrays in library `xp`; itself if they are.

        `state.on(numpy)` is what a memory that computes on the CPU goes on from, and what a file
        takes. From a device to the host is a copy, for which the host waits.
        """
        held = {name: getattr(self, name) for name in FLOATS}
        moved = {n: xp.asarray(to_host(x)) for n, x in held.items() if namespace(x) is not xp}
        return replace(self, **moved) if moved else self


class Widths(NamedTuple):
    """What the arrays of a state are as wide as.

    Attributes:
        state: shape of one head's state.
        context: numbers in a context; 0 if the readout does not route.
        keys: numbers in the open segment's key sum; 0 if nothing looks at it.
    """

    state: tuple[int, ...]
    context: int
    keys: int


def empty_state(like: Array, widths: Widths, dtype: CacheDtype | None, origin: str) -> MemoryState:
    """The state before the first token; `like` (B, H) has the dtype of the memory."""
    xp, (rows, heads) = namespace(like), like.shape
    size, counts = prod(widths.state), np.zeros(rows, np.int64)
    stored = compact(xp.zeros((rows, 0, heads, size), like.dtype), dtype, widths.state[-1])
    return MemoryState(
        online=xp.zeros((rows, heads, size), like.dtype),
        checkpoints=stored.codes,
        scales=stored.scales,
        contexts=xp.zeros((rows, 0, heads, widths.context), like.dtype),
        ledger=np.zeros((rows, 0, LEDGER)),
        keys=xp.zeros((rows, heads, widths.keys), like.dtype),
        position=counts,
        length=counts,
        count=counts,
        document=counts,
        origin=origin,
    )


def check_state(state: object, like: MemoryState, what: str) -> None:
    """Raise InputError unless `state` belongs to a memory whose empty state is `like`."""
    if not isinstance(state, MemoryState):
        kind = type(state).__name__
        raise InputError(f"{what}: a {kind}; a state that step or forward returned would do")
    if state.origin != like.origin:
        raise InputError(f"{what}: is of a {state.origin} memory, this one is {like.origin}")
    if on_host(like.online) and not on_host(state.online):
        raise InputError(
            f"{what}: lies on a device, and this memory computes on the CPU; {what}.on(numpy) "
            "would do"
        )
    for name in ("online", "checkpoints", "contexts", "keys"):
        ours, theirs = getattr(like, name), getattr(state, name)
        if _rigid(name, ours) != _rigid(name, theirs):
            raise ShapeError(
                f"{what}.{name}: {theirs.dtype} {theirs.shape}, the inputs ask for "
                f"{ours.dtype} {_rigid(name, ours)[1]}"
            )


def _rigid(name: str, x: Array) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape, without the number of checkpoints, which may be any."""
    shape = x.shape[:1] + x.shape[2:] if name in PER_CHECKPOINT else x.shape
    return x.dtype.name, shape
