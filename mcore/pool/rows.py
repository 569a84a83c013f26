"""The memories of all streams of a pool: a row each, of which some are fed."""

from collections.abc import Mapping

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding, RowDecoder
from mcore.cache import MemoryState, check_state
from mcore.memory_layer import Memory
from mcore.pool.apart import Apart, joined, part
from mcore.recurrence import Dims
from mcore.stream import MANY, Stream, token_of


class Rows(Stream):
    """One memory for each slot. What is fed is for the rows `chosen`; the others stay as they are.

    Where the backend decodes the composition row by row, a token of all chosen rows is one kernel
    call in place; else, and for many tokens at once, it is a `step` of their states.

    Attributes:
        chosen: (n,) rows that the next feed is for, ascending.
    """

    def __init__(self, memory: Memory, slots: int) -> None:
        super().__init__(memory, None, None)
        self.chosen, self._dims = np.zeros(0, np.int64), Dims(slots, 1, 0, 0, 0)
        self._places = np.zeros(slots, np.int64)
        self._rest = np.zeros(slots, np.int64)
        self._rows: RowDecoder | None = None
        self._apart = Apart(self._fresh)

    def feed(self, inputs: Mapping[str, object], *, document: object = None) -> Array:
        """y (n, T, H, V) of the next tokens of the chosen rows.

        Raises:
            SpecError: as `Memory.step`; nothing has changed then.
        """
        arrays = self.memory.checked(inputs)
        dims = self.memory.rule.dims(arrays)
        if not self._dims.H:
            self._begin_rows(dims)
        if self._rows is None:
            y, state = self.memory.step(arrays, self._apart.batch(self.chosen))
            self._apart.keep(state)
            return y
        self._check_borders(dims.T)
        if dims.T >= MANY:
            return self._many(arrays)
        tokens = (token_of(arrays, self.memory.inputs, t) for t in range(dims.T))
        answers = [self._one_each(token) for token in tokens]
        return answers[0] if dims.T == 1 else np.concatenate(answers, axis=1)

    @property
    def decodes(self) -> bool:
        """Whether the backend decodes this composition; known after the first token."""
        return self._rows is not None

    def take(self, row: int) -> MemoryState:
        """The state of one row, as of a batch of one; a copy."""
        return self._apart.take(row) if self._rows is None else self._rows.take(row)

    def put(self, row: int, state: MemoryState | None) -> None:
        """Overwrite one row; None empties it.

        Raises:
            InputError: a state of another composition.
        """
        empty = self._fresh()
        if state is not None:
            check_state(state, empty, "state")
        state = (state or empty).on(self.memory.backend.xp)
        if self._rows is None:
            self._apart.put(row, state)
            return
        self._rows.put(row, state)
        self._place(row, int(state.position[0]))

    def grow(self, slots: int) -> None:
        """Room for more rows."""
        old, more = self._rows, slots - self._dims.B
        self._dims = self._dims._replace(B=slots)
        self._places = np.concatenate([self._places, np.zeros(more, np.int64)])
        self._rest = np.concatenate([self._rest, np.full(more, self._first, np.int64)])
        if old is not None:
            self._rows = self._decoder_of(self._dims)
            for row in np.flatnonzero(self._places).tolist():
                self.put(row, old.take(row))

    def _begin_rows(self, dims: Dims) -> None:
        self._dims = dims._replace(B=self._dims.B, T=1)
        self._rows = self._decoder_of(self._dims)
        self._rest[:] = self._first

    def _decoder_of(self, dims: Dims) -> RowDecoder | None:
        memory = self.memory
        if memory.segmentation.remaining(0, 0) is None:
            return None
        carries = memory.start == "checkpoint"
        decoding = Decoding(memory.rule, memory.readout, memory.cache, carries, dims, None)
        decoder = memory.backend.decoder(decoding, memory.empty(dims))
        return decoder if isinstance(decoder, RowDecoder) else None

    def _one_each(self, token: Mapping[str, Array]) -> Array:
        rows, decoder = self.chosen, self._rows
        assert decoder is not None
        closes = self._rest[rows] == 1
        y = decoder.feed_rows(rows, token, closes)
        self._places[rows] += 1
        self._rest[rows] -= 1
        for row in rows[closes].tolist():
            self._place(row, int(self._places[row]))
        return y

    def _many(self, arrays: Mapping[str, Array]) -> Array:
        """Many tokens of few rows: the kernels for whole sequences."""
        rows = self.chosen.tolist()
        y, end = self.memory.step(arrays, joined([self.take(row) for row in rows]))
        for place, row in enumerate(rows):
            self.put(row, part(end, place))
        return y

    def _check_borders(self, tokens: int) -> None:
        """Raise SpecError if a row would go on beyond the last given segment."""
        for row in self.chosen[self._rest[self.chosen] < tokens].tolist():
            begin = int(self._places[row])
            self.memory.segmentation.borders(0, begin, begin + tokens)

    def _place(self, row: int, position: int) -> None:
        """Note how far a row has come, and how far the next border is."""
        self._places[row] = position
        self._rest[row] = self.memory.segmentation.remaining(0, position) or 0

    @property
    def _first(self) -> int:
        """Tokens up to the first border; 0 if that cannot be told."""
        return self.memory.segmentation.remaining(0, 0) or 0

    def _fresh(self) -> MemoryState:
        return self.memory.empty(self._dims._replace(B=1))
