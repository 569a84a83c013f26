"""What streams carry beside their memories: tails of convolutions, positions, keys and values."""

from collections.abc import Iterator, Mapping

import numpy as np

from mcore.arrays import Array, namespace
from mcore.model.part import State
from mcore.placing import sent

FROM_ZERO = ("tail", "last", "position", "sum", "count")
"""What begins as zeros and keeps its size; anything else is there after the first token only."""


class Carried:
    """Arrays of all slots.

    What keeps its size is one array (slots, ...), of which rows are picked; what grows (the keys
    and values that attention sees) is an array for each stream.
    """

    def __init__(self, like: Mapping[str, Array], slots: int) -> None:
        self._fixed: State = {}
        self._growing: dict[str, list[Array | None]] = {}
        for name, x in like.items():
            if name.rpartition(".")[2] in FROM_ZERO:
                self._fixed[name] = namespace(x).zeros((slots, *x.shape[1:]), x.dtype)
            else:
                self._growing[name] = [None] * slots

    def groups(self, rows: Array) -> Iterator[Array]:
        """The rows (n,) in groups that one call takes: of the same sizes and counts."""
        if not self._growing:
            yield rows
            return
        alike: dict[tuple[object, ...], list[int]] = {}
        for row in rows.tolist():
            held = tuple(_kind(arrays[row]) for arrays in self._growing.values())
            alike.setdefault(held, []).append(row)
        yield from map(np.array, alike.values())

    def gather(self, rows: Array) -> State:
        """What a group of rows carries; not to be written to."""
        found = {name: x[_span(x, rows)] for name, x in self._fixed.items()}
        for name, arrays in self._growing.items():
            own = [x for x in (arrays[row] for row in rows.tolist()) if x is not None]
            if own:
                found[name] = own[0] if len(own) == 1 else namespace(own[0]).concatenate(own)
        return found

    def scatter(self, rows: Array, carried: Mapping[str, Array]) -> None:
        """Where those rows have come."""
        for name, x in self._fixed.items():
            x[_span(x, rows)] = carried[name]
        for name, arrays in self._growing.items():
            own = carried[name]
            for place, row in enumerate(rows.tolist()):
                arrays[row] = own[place : place + 1].copy()

    def put(self, row: int, carried: Mapping[str, Array]) -> None:
        """Overwrite one row; what is missing begins anew."""
        for name, x in self._fixed.items():
            x[row : row + 1] = carried.get(name, 0)
        for name, arrays in self._growing.items():
            arrays[row] = carried.get(name)

    def begun(self, row: int) -> bool:
        """Whether a row may have seen a token: what grows is there after the first."""
        return all(arrays[row] is not None for arrays in self._growing.values())

    def take(self, row: int) -> State:
        """What one row carries; a copy."""
        return {name: x.copy() for name, x in self.gather(np.array([row])).items()}

    def grow(self, slots: int) -> None:
        """Room for more rows."""
        for name, x in self._fixed.items():
            xp = namespace(x)
            more = xp.zeros((slots - len(x), *x.shape[1:]), x.dtype)
            self._fixed[name] = xp.concatenate([x, more])
        for arrays in self._growing.values():
            arrays += [None] * (slots - len(arrays))


def _kind(x: Array | None) -> object:
    """What must be the same in a call: the size, and counts, which are numbers for all rows."""
    if x is None:
        return None
    return tuple(x.ravel().tolist()) if x.dtype.kind in "iu" else x.shape


def _span(x: Array, rows: Array) -> slice | Array:
    """Neighbours as a slice, which needs no copy; others as an index of x."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else sent(x, rows)
