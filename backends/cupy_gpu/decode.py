"""Decoding: a memory on the device that is fed token by token, in place: three kernels a token."""

from collections.abc import Mapping
from math import prod

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.decode_books import HostBooks
from mcore.backends.cupy_gpu.decode_launch import Launcher
from mcore.backends.cupy_gpu.decode_plan import decodes
from mcore.backends.cupy_gpu.decode_state import drained, grown, put, row_of, taken
from mcore.backends.cupy_gpu.decode_token import Token, token_of
from mcore.backends.cupy_gpu.device import Device
from mcore.cache import MemoryState
from mcore.placing import like
from mcore.recurrence import Inputs

SLOTS = 64
"""Room for so many checkpoints at first."""


def decoder(device: Device, decoding: Decoding, state: MemoryState) -> "CupyDecoder | None":
    """See `mcore.backend.Backend.decoder`."""
    return CupyDecoder(device, decoding, state) if decodes(decoding) else None


class CupyDecoder:
    """See `mcore.backend.RowDecoder`. Inputs and answers are arrays on the device.

    Log-decays are not looked at: that would mean to wait for the device.

    Attributes:
        device, decoding: where, and what is decoded.
        memory: the arrays that the kernels work on.
        books: what the host knows of the rows.
    """

    bound = 0.0

    def __init__(self, device: Device, decoding: Decoding, state: MemoryState) -> None:
        self.device, self.decoding = device, decoding
        self._document, self._origin = state.document, state.origin
        self._limit = decoding.cache.limit or np.iinfo(np.int32).max
        slots = min(self._limit, max(SLOTS, 1 << int(state.checkpoints.shape[1]).bit_length()))
        self.books = HostBooks(state, slots if decoding.readout.reads_cache else 0)
        self.memory = taken(device, state, self.books)
        self._launcher = Launcher(device, decoding, self.memory)

    @property
    def state(self) -> MemoryState:
        """See `mcore.backend.Decoder`."""
        return drained(self.memory, self.books, self._document, self._origin)

    def feed(self, inputs: Inputs, closes: Array | None) -> Array:
        """See `mcore.backend.Decoder`."""
        self.prepare(closes)
        y = self.answer_array(self.decoding.dims.B)
        self.launch(token_of(self.decoding, inputs), y)
        self.account(closes)
        return y

    def feed_rows(self, rows: Array, inputs: Inputs, closes: Array) -> Array:
        """See `mcore.backend.RowDecoder`."""
        if len(rows) == self.decoding.dims.B:
            return self.feed(inputs, closes)
        ended = np.zeros(self.decoding.dims.B, bool)
        ended[rows] = closes
        self.prepare(ended)
        y, fed = self.answer_array(len(rows)), like(self.memory.books, rows.astype(np.int32))
        self._launcher.run(token_of(self.decoding, inputs), self.memory, fed, y)
        self.books.advance(rows, rows[closes])
        return y

    def take(self, row: int) -> MemoryState:
        """See `mcore.backend.RowDecoder`."""
        document = np.zeros(1, np.int64)
        return drained(row_of(self.memory, row), self.books.row(row), document, self._origin)

    def put(self, row: int, state: MemoryState) -> None:
        """See `mcore.backend.RowDecoder`."""
        slots, count = self.memory.slots, int(state.count[0])
        while 0 < slots < count:
            slots = min(2 * slots, self._limit)
        if slots > self.memory.slots:
            self._grow(slots)
        self.books.put(row, state)
        put(self.device, self.memory, row, state, self.books)

    def answer_array(self, rows: int) -> Array:
        """Room for y (rows, 1, H, V)."""
        dims = self.decoding.dims
        y: Array = self.device.xp.empty((rows, 1, dims.H, dims.V), self.memory.online.dtype)
        return y

    def token_arrays(self) -> dict[str, Array]:
        """Zeros of the shapes of one token's inputs."""
        decoding, dims = self.decoding, self.decoding.dims._replace(T=1)
        lengths = dims._asdict() | decoding.rule.fixed
        declared = decoding.rule.inputs | decoding.readout.inputs
        zeros, dtype = self.device.xp.zeros, self.memory.online.dtype
        return {name: zeros(_shape(axes, lengths), dtype) for name, axes in declared.items()}

    def launch(self, token: Token, y: Array) -> None:
        """The kernels of a token alone, into y (B, 1, H, V): what a CUDA graph can capture."""
        self._launcher.run(token, self.memory, None, y)

    def prepare(self, closes: Array | None) -> None:
        """Room for the checkpoints of the rows that close, and word of it to the device."""
        if closes is None or not closes.any():
            return
        if self.memory.slots < self._limit and self.books.full(closes):
            self._grow(min(2 * self.memory.slots, self._limit))
        self.memory.closes[...] = self.device.upload(closes.astype(np.int32))[:, None]

    def account(self, closes: Array | None) -> None:
        """A token of all rows that the device was sent."""
        self.books.advance(slice(None), None if closes is None else np.flatnonzero(closes))

    def _grow(self, slots: int) -> None:
        self.memory = grown(self.device, self.memory, slots)
        self.books.widen(slots)
        self._launcher.reserve(self.memory)


def _shape(axes: str, lengths: Mapping[str, int]) -> tuple[int, ...]:
    """Of an input, e.g. `B T H G*V`."""
    return tuple(prod(lengths[name] for name in axis.split("*")) for axis in axes.split())
