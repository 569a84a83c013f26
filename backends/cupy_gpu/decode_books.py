"""What the host knows of a decoder's rows without asking the device: how far each has come."""

import numpy as np

from mcore.arrays import Array
from mcore.cache import LEDGER, MemoryState

BOOKS = 4
COUNT, HEAD, LENGTH, POSITION = range(BOOKS)


class HostBooks:
    """The numbers of all rows.

    Attributes:
        numbers: (B, BOOKS) checkpoints held, slot of the oldest, tokens of the open segment and of
            the document.
        ledger: (B, slots, 3) of the checkpoints, by slot.
    """

    def __init__(self, state: MemoryState, slots: int) -> None:
        rows = len(state.count)
        self.numbers = np.zeros((rows, BOOKS), np.int64)
        self.ledger = np.zeros((rows, slots, LEDGER))
        for row in range(rows):
            self.put(row, state, row)

    @property
    def slots(self) -> int:
        """Room for so many checkpoints."""
        return int(self.ledger.shape[1])

    def put(self, row: int, state: MemoryState, source: int = 0) -> None:
        """Take over a row of a state, its oldest checkpoint in the first slot."""
        count = int(state.count[source]) if self.slots else 0
        self.numbers[row] = count, 0, state.length[source], state.position[source]
        self.ledger[row] = 0
        self.ledger[row, :count] = state.ledger[source, state.ledger.shape[1] - count :]

    def row(self, row: int) -> "HostBooks":
        """Those of one row; no copy."""
        found = object.__new__(HostBooks)
        found.numbers, found.ledger = self.numbers[row : row + 1], self.ledger[row : row + 1]
        return found

    def full(self, rows: Array) -> bool:
        """Whether one of the rows (a mask or an index) has no room left."""
        return bool(self.slots and (self.numbers[rows, COUNT] == self.slots).any())

    def widen(self, slots: int) -> None:
        """Room for more checkpoints; none has been evicted yet."""
        self.ledger = np.pad(self.ledger, ((0, 0), (0, slots - self.slots), (0, 0)))

    def advance(self, rows: Array | slice, ended: Array | None) -> None:
        """A token of some rows, after which the segments of those in `ended` end."""
        self.numbers[rows, LENGTH:] += 1
        if ended is not None and len(ended):
            self._end(ended)

    def _end(self, rows: Array) -> None:
        numbers, slots = self.numbers, self.slots
        lengths, full = numbers[rows, LENGTH], numbers[rows, COUNT] == slots
        numbers[rows, LENGTH] = 0
        if not slots:
            return
        place = (numbers[rows, HEAD] + np.where(full, 0, numbers[rows, COUNT])) % slots
        self.ledger[rows, place] = 0
        self.ledger[rows, place, 0] = lengths
        numbers[rows, HEAD] = (numbers[rows, HEAD] + full) % slots
        numbers[rows, COUNT] += ~full

    def picked(self, slot: Array) -> Array:
        """(B, C, 3) the ledger by slot (B, C); zeros where that is -1."""
        rows = np.arange(len(slot))[:, None]
        return self.ledger[rows, slot] * (slot >= 0)[..., None] if slot.size else self.ledger[:, :0]


def slots_by_age(books: HostBooks) -> Array:
    """(B, C) where each row's checkpoints lie, the newest at the right; -1 where it has fewer."""
    count, slots = books.numbers[:, COUNT], books.slots
    held = int(count.max()) if slots else 0
    age = np.arange(held) - (held - count[:, None])
    found: Array = np.where(age >= 0, (books.numbers[:, HEAD, None] + age) % max(slots, 1), -1)
    return found
