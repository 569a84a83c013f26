"""The memory's state between calls: checkpoints, their contexts, and the open segment."""

from dataclasses import dataclass

import numpy as np

from mcore.arrays import Array
from mcore.errors import InputError, ShapeError
from mcore.segments import Progress, Segments


@dataclass(frozen=True)
class MemoryState:
    """Everything a memory carries from one call to the next; also the shape of its gradient.

    Attributes:
        online: (B, H, P) memory of the open segment.
        checkpoints: (B, C, H, P) the cache; a row's checkpoints are its last `count` slots.
        contexts: (B, C, H, K) their mean keys (K = 0 if the readout does not route).
        keys: (B, H, K) sum of the keys of the open segment.
        position: (B,) tokens seen.
        length: (B,) tokens of the open segment seen; 0 at a border.
        count: (B,) checkpoints held.
        origin: the composition it belongs to, in words.
    """

    online: Array
    checkpoints: Array
    contexts: Array
    keys: Array
    position: Array
    length: Array
    count: Array
    origin: str

    @property
    def progress(self) -> Progress:
        """The integers that segmentation needs."""
        return Progress(self.position, self.length, self.count, self.checkpoints.shape[1])

    @property
    def nbytes(self) -> int:
        """Size of the floating-point arrays."""
        return sum(a.nbytes for a in (self.online, self.checkpoints, self.contexts, self.keys))


def check_state(state: object, like: MemoryState, what: str) -> None:
    """Raise InputError unless `state` belongs to a memory whose empty state is `like`."""
    if not isinstance(state, MemoryState):
        kind = type(state).__name__
        raise InputError(f"{what}: a {kind}; a state that step or forward returned would do")
    if state.origin != like.origin:
        raise InputError(f"{what}: is of a {state.origin} memory, this one is {like.origin}")
    for name in ("online", "checkpoints", "contexts", "keys"):
        ours, theirs = getattr(like, name), getattr(state, name)
        if _rigid(name, ours) != _rigid(name, theirs):
            raise ShapeError(
                f"{what}.{name}: {theirs.dtype} {theirs.shape}, the inputs ask for "
                f"{ours.dtype} {_rigid(name, ours)[1]}"
            )


def _rigid(name: str, x: Array) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape, without the number of checkpoints, which may be any."""
    shape = x.shape[:1] + x.shape[2:] if name in ("checkpoints", "contexts") else x.shape
    return x.dtype.name, shape


def join(cached: Array, new: Array, columns: int) -> Array:
    """The first `columns` of the cache followed by this call's checkpoints: (B, columns, H, .)."""
    added = columns - cached.shape[1]
    if added == 0:
        return cached
    if cached.shape[1] == 0:
        return new[:, :added]
    joined: Array = np.concatenate([cached, new[:, :added]], axis=1)
    return joined


def kept(segments: Segments, count: Array) -> Array:
    """(B, C) columns of (cache + this call's checkpoints) that stay; -1 where a row has fewer."""
    held = count + segments.closed
    width = int(held.max())
    end = segments.cached + segments.closed
    column = end[:, None] - width + np.arange(width)
    return np.where(np.arange(width) >= (width - held)[:, None], column, -1)


def keep(joined: Array, columns: Array) -> Array:
    """Pick columns (B, C) of a cache (B, C', H, .), zeros where a column is -1."""
    if columns.shape[1] == 0:
        return joined[:, :0]
    if (columns == columns[:1]).all() and columns[0, 0] >= 0:
        return joined[:, columns[0, 0] : columns[0, -1] + 1]
    rows = np.arange(len(columns))[:, None]
    return np.where((columns >= 0)[..., None, None], joined[rows, columns], 0)


def keep_backward(d_kept: Array, columns: Array, d_joined: Array) -> Array:
    """`d_joined` plus the gradient of `keep`, each kept column at its place."""
    total = d_joined.copy()
    rows, slots = np.nonzero(columns >= 0)
    total[rows, columns[rows, slots]] += d_kept[rows, slots]
    return total
