"""Decoding: a memory that is fed token by token, in place, one kernel call a token."""

from collections.abc import Callable
from dataclasses import replace

import numba
import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.numba_cpu.decode_arrays import (
    drained,
    empty_memory,
    fill,
    grown,
    heads,
    row_of,
)
from mcore.backends.numba_cpu.decode_evict import Use, room_of, settled
from mcore.backends.numba_cpu.decode_token import kernel_of, slots_of
from mcore.backends.numba_cpu.decode_work import COUNT, HEAD, LENGTH, Memory, space
from mcore.cache import LEDGER, MemoryState
from mcore.cache.state import PER_CHECKPOINT
from mcore.errors import InputError
from mcore.recurrence import Inputs

SLOTS = 64
"""Room for so many checkpoints at first."""

INFINITE = "log_decay: has -inf or NaN; any finite value would do, e.g. -40"


class NumbaDecoder:
    """See `mcore.backend.Decoder`.

    Attributes:
        memory: the arrays that the kernel works on.
        bound: of the last token.
    """

    memory: Memory
    _ledger: Array

    def __init__(self, decoding: Decoding, state: MemoryState) -> None:
        self._decoding, self._like = decoding, _without_checkpoints(state)
        dims = decoding.dims
        self._limit, self._use = room_of(decoding), Use(dims.B)
        self._shape, self._dtype = (dims.B, 1, dims.H, dims.V), state.online.dtype
        self._tasks = (np.arange(dims.B), 0, dims.B * dims.H)
        self._token, self._given, self._spread = slots_of(decoding, self._dtype)
        self._kernel = kernel_of(decoding)
        self._reserve(state)

    @property
    def bound(self) -> float:
        """See `mcore.backend.Decoder`."""
        return float(self._space.doubles[0])

    @property
    def state(self) -> MemoryState:
        """See `mcore.backend.Decoder`."""
        self._use.enter_all(self.memory, self._ledger)
        return drained(self.memory, self._ledger, self._like)

    def feed(self, inputs: Inputs, closes: Array | None) -> Array:
        """See `mcore.backend.Decoder`."""
        token = self._token
        for place, name in self._given:
            token[place] = inputs[name]
        if self._spread is not None:
            self._spread[...] = inputs["log_decay"]
        if closes is not None:
            return self._close(np.flatnonzero(closes), self._run)
        return self._run()

    def _run(self) -> Array:
        y = np.empty(self._shape, self._dtype)
        if not self._entry(self._tasks, tuple(self._token), self.memory, self._space, y):
            raise InputError(INFINITE)
        return y

    def _close(self, rows: Array, run: Callable[[], Array]) -> Array:
        """A token after which segments of `rows` end: room for their checkpoints, and the books."""
        memory = self.memory
        slots, books = memory.codes.shape[2], memory.books[:, 0]
        if slots and slots < self._limit and (books[rows, COUNT] == slots).any():
            memory = self._grow(min(2 * slots, self._limit))
        lengths, taken = memory.books[rows, 0, LENGTH] + 1, _places(memory, rows)
        held = memory.books[rows, 0, COUNT]
        memory.closes[rows] = True
        try:
            y = run()
        finally:
            memory.closes[rows] = False
        if slots:
            self._use.enter(rows, held, memory, self._ledger)
            self._ledger[rows, taken] = 0
            self._ledger[rows, taken, 0] = lengths
            if self._decoding.cache.stepwise:
                for row in rows[held + 1 == self._limit].tolist():
                    self.put(row, settled(self._taken(row), self._decoding))
        return y

    def take(self, row: int) -> MemoryState:
        """See `mcore.backend.RowDecoder`."""
        self._use.enter_all(self.memory, self._ledger)
        return self._taken(row)

    def put(self, row: int, state: MemoryState) -> None:
        """See `mcore.backend.RowDecoder`."""
        count, slots = int(state.count[0]), self.memory.codes.shape[2]
        while 0 < slots < count:
            slots = min(2 * slots, self._limit)
        if slots > self.memory.codes.shape[2]:
            self._grow(slots)
        place = row_of(self.memory, row)
        place.contexts[...] = 0
        self._fill(place, self._ledger[row : row + 1], state)
        self._use.begin(slice(row, row + 1), self.memory)

    def _taken(self, row: int) -> MemoryState:
        like = replace(self._like, online=self._like.online[:1], document=np.zeros(1, np.int64))
        return drained(row_of(self.memory, row), self._ledger[row : row + 1], like)

    def _grow(self, slots: int) -> Memory:
        more = slots - self.memory.codes.shape[2]
        self.memory = grown(self.memory, slots)
        self._ledger = np.pad(self._ledger, ((0, 0), (0, more), (0, 0)))
        self._space = space(self.memory)
        return self.memory

    def _reserve(self, state: MemoryState) -> None:
        """Take over a state, with room for more."""
        held = int(state.count.max())
        slots = SLOTS
        while slots < held:
            slots *= 2
        self.memory = empty_memory(self._decoding, state, min(slots, self._limit))
        self._ledger = np.zeros((len(state.count), self.memory.codes.shape[2], LEDGER))
        self._fill(self.memory, self._ledger, state)
        self._use.begin(slice(None), self.memory)
        self._space = space(self.memory)
        y = np.empty(self._shape, self._dtype)
        arguments = (self._tasks, tuple(self._token), self.memory, self._space, y)
        # The compiled entry itself: looking it up by the types of all arrays takes a microsecond.
        self._entry = self._kernel.compile(tuple(map(numba.typeof, arguments)))

    def _fill(self, memory: Memory, ledger: Array, state: MemoryState) -> None:
        """Take over a state that fits, and the books on its checkpoints."""
        from mcore.backends.numba_cpu.decode_kernels import restore_kernel

        slots = memory.codes.shape[2]
        head = heads(state, slots if slots == self._limit else slots + 1)
        fill(memory, state, head)
        restore_kernel(memory)
        ledger[...] = 0
        for row, count in enumerate(state.count.tolist() if slots else ()):
            place = (head[row] + np.arange(count)) % slots
            ledger[row, place] = state.ledger[row, state.ledger.shape[1] - count :]


def _without_checkpoints(state: MemoryState) -> MemoryState:
    """Sizes, dtypes and origin of a state, holding none of its checkpoints."""
    held = {name: getattr(state, name)[:, :0].copy() for name in PER_CHECKPOINT}
    return replace(state, **held)


def _places(memory: Memory, rows: Array) -> Array:
    """The slots that the next checkpoints of some rows take."""
    books = memory.books[rows, 0]
    full = books[:, COUNT] == memory.codes.shape[2]
    places: Array = np.where(full, books[:, HEAD], books[:, COUNT])
    return places
