"""States of streams whose memory has no decoder: kept together as long as the same ones are fed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mcore.arrays import Array, namespace
from mcore.cache import MemoryState
from mcore.cache.state import PER_CHECKPOINT


class Apart:
    """The states of some rows, those of the last feed as one batch.

    A batch is stepped as it is while its rows stay the same; else it is taken apart, and each row
    keeps its own state until it is fed again.
    """

    def __init__(self, empty: Callable[[], MemoryState]) -> None:
        self._empty, self._alone = empty, dict[int, MemoryState]()
        self._rows, self._batch = np.zeros(0, np.int64), list[MemoryState]()

    def batch(self, rows: Array) -> MemoryState:
        """The state of these rows (n,)."""
        if not np.array_equal(rows, self._rows):
            self._take_apart()
            own = [self._alone.pop(row) if row in self._alone else self._empty() for row in rows]
            self._rows, self._batch = rows, [joined(own)]
        return self._batch[0]

    def keep(self, state: MemoryState) -> None:
        """Where the rows of the last `batch` have come."""
        self._batch = [state]

    def take(self, row: int) -> MemoryState:
        """The state of one row, as of a batch of one; a copy."""
        place = np.flatnonzero(self._rows == row)
        if len(place):
            return part(self._batch[0], int(place[0]))
        return part(self._alone.get(row) or self._empty(), 0)

    def put(self, row: int, state: MemoryState) -> None:
        """Overwrite one row."""
        if (self._rows == row).any():
            self._take_apart()
        self._alone[row] = state

    def _take_apart(self) -> None:
        for place, row in enumerate(self._rows.tolist()):
            self._alone[row] = part(self._batch[0], place)
        self._rows, self._batch = np.zeros(0, np.int64), []


def part(state: MemoryState, row: int) -> MemoryState:
    """One row of a state, without the slots that it leaves empty; a copy."""
    own = {n: x[row : row + 1] for n, x in vars(state).items() if n != "origin"}
    empty = state.checkpoints.shape[1] - int(state.count[row])
    held: dict[str, Any] = {n: x[:, empty:] if n in PER_CHECKPOINT else x for n, x in own.items()}
    return replace(state, **{n: x.copy() for n, x in held.items()})


def joined(states: list[MemoryState]) -> MemoryState:
    """One state of several rows; those that hold fewer checkpoints get empty slots in front."""
    slots = max(state.checkpoints.shape[1] for state in states)
    found: dict[str, Any] = {}
    for name in vars(states[0]):
        if name != "origin":
            own = [getattr(state, name) for state in states]
            wide = [_widened(x, slots) for x in own] if name in PER_CHECKPOINT else own
            found[name] = namespace(wide[0]).concatenate(wide)
    return replace(states[0], **found)


def _widened(x: Array, slots: int) -> Array:
    missing = slots - x.shape[1]
    if not missing:
        return x
    widened: Array = namespace(x).pad(x, ((0, 0), (missing, 0), *[(0, 0)] * (x.ndim - 2)))
    return widened
