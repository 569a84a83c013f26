"""The streams of a pool that are in memory: a slot each, advanced together.

What a stream carries stays where it is. A call picks the rows of small arrays, and hands memories
the slots that they are fed for; caches are never copied.
"""

from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from mcore.arrays import Array, namespace
from mcore.cache import MemoryState
from mcore.errors import SpecError
from mcore.model.memory_mixer import MEMORY, memory_arrays
from mcore.model.part import LIVE, STREAM, State, prefixed, scoped
from mcore.model.placed import placed
from mcore.placing import sent
from mcore.pool.carried import Carried
from mcore.pool.rows import Rows
from mcore.stream import Stream

if TYPE_CHECKING:
    from mcore.model import Model

FIRST = 64
"""Slots at first; there are twice as many when they are full."""


class Batch:
    """Slots for streams.

    Attributes:
        model: whose parameters are used.
    """

    def __init__(self, model: "Model") -> None:
        if model.layout.names_rows:
            raise SpecError(
                "segmentation.lengths: list the cuts of each row, and the rows of a pool come and "
                "go; one list for all rows, constant or adaptive would do"
            )
        self.model, self._slots = model, FIRST
        self._free = list(range(FIRST))
        probe, carried = _probe(model), State()
        _, live = model.step(probe, {LIVE: np.True_})  # type: ignore[dict-item]
        self._memories: dict[str, Rows] = {}
        for name, x in live.items():
            if isinstance(x, Stream):
                self._memories[name] = Rows(x.memory, FIRST)
            else:
                carried[name] = x
        self._carried = Carried(carried, FIRST)
        self.advance(np.zeros(1, np.int64), probe)
        self._put(0, {})

    def begin(self, state: State) -> int:
        """The slot of a stream that goes on from a state; empty: that has not begun."""
        if not self._free:
            self._grow()
        if state:
            self._put(self._free[0], state)
        return heappop(self._free)

    def end(self, slot: int) -> None:
        """Free a slot, and empty it."""
        self._put(slot, {})
        heappush(self._free, slot)

    def take(self, slot: int) -> State:
        """What a stream carries, as `Session.state`; a copy."""
        if not self._carried.begun(slot):
            return {}
        found = self._carried.take(slot)
        for name, memory in self._memories.items():
            scope = name.rpartition(".")[0]
            found |= prefixed(scope, memory_arrays(memory.take(slot)))
        return found

    def advance(self, slots: Array, x: Array) -> Array:
        """The model's answers y (n, T, .) to what comes next in the streams in some slots (n,).

        Shapes: x (n, T), or (n, T, C) of a model with C real-valued channels.

        Raises:
            McoreError: as `Session.feed`.
        """
        order = np.argsort(slots, kind="stable")
        ascending, answers = slots[order], list[Array]()
        places = np.empty(len(slots), np.int64)
        begin = 0
        for rows in self._carried.groups(ascending):
            mine = order[np.searchsorted(ascending, rows)]
            answers.append(self._step(rows, x if _same(mine, x) else x[mine]))
            places[mine] = np.arange(begin, begin + len(rows))
            begin += len(rows)
        y = answers[0] if len(answers) == 1 else namespace(answers[0]).concatenate(answers)
        return y if _same(places, y) else y[sent(y, places)]

    def _step(self, rows: Array, x: Array) -> Array:
        """One call of the model for rows, ascending, that carry arrays of the same sizes."""
        for memory in self._memories.values():
            memory.chosen = rows
        state = {**self._carried.gather(rows), **self._memories, LIVE: np.True_}
        y, carried = self.model.step(x, state)  # type: ignore[arg-type]
        self._carried.scatter(rows, carried)
        return y

    def _put(self, slot: int, state: State) -> None:
        state = placed(state, self.model.backend.xp)
        for name, memory in self._memories.items():
            memory.put(slot, _memory_state(memory, name, state))
        self._carried.put(slot, state)

    def _grow(self) -> None:
        slots = 2 * self._slots
        for memory in self._memories.values():
            memory.grow(slots)
        self._carried.grow(slots)
        self._free = list(range(self._slots, slots))
        self._slots = slots


def _same(order: Array, x: Array) -> bool:
    """Whether rows in this order are those of x as they are."""
    return len(order) == len(x) and bool((order == np.arange(len(order))).all())


def _memory_state(memory: Rows, name: str, state: State) -> MemoryState | None:
    arrays = scoped(state, name.removesuffix(STREAM) + MEMORY)
    return MemoryState(**arrays, origin=memory.memory.origin) if arrays else None


def _probe(model: "Model") -> Array:
    """One token of one stream, any."""
    channels = model.channels
    return np.zeros((1, 1), np.int64) if channels is None else np.zeros((1, 1, channels))
