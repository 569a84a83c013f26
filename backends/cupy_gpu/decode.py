"""Decoding: a memory on the device that is fed token by token, in place: four kernels a token."""

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.decode_plan import (
    Token,
    decodes,
    factors_of,
    token_of,
    variant_of,
)
from mcore.backends.cupy_gpu.decode_state import COUNT, HEAD, LENGTH, drained, grown, taken
from mcore.backends.cupy_gpu.device import Device
from mcore.cache import LEDGER, MemoryState
from mcore.recurrence import Inputs

SLOTS = 64
"""Room for so many checkpoints at first."""

THREADS = 256
BLOCKS = 512
"""Blocks that fill a large GPU: checkpoints are shared out so that there are about as many."""


def decoder(device: Device, decoding: Decoding, state: MemoryState) -> "CupyDecoder | None":
    """See `mcore.backend.Backend.decoder`."""
    return CupyDecoder(device, decoding, state) if decodes(decoding) else None


class CupyDecoder:
    """See `mcore.backend.Decoder`. Inputs and answers are arrays on the device.

    Log-decays are not looked at: that would mean to wait for the device.

    Attributes:
        device, decoding: where, and what is decoded.
        memory: the arrays that the kernels work on.
    """

    bound = 0.0

    def __init__(self, device: Device, decoding: Decoding, state: MemoryState) -> None:
        self.device, self.decoding, self._like = device, decoding, state
        self._limit = decoding.cache.limit or np.iinfo(np.int32).max
        slots = min(self._limit, max(SLOTS, 1 << int(state.checkpoints.shape[1]).bit_length()))
        self.memory = taken(device, state, slots if decoding.readout.reads_cache else 0)
        held = state.checkpoints.shape[1]
        self._ledger = np.zeros((decoding.dims.B, self.memory.slots, LEDGER))
        if self.memory.slots:
            self._ledger[:, :held] = state.ledger
        self._books = device.download(self.memory.books).astype(np.int64)
        variant = variant_of(decoding, state.online.dtype.name)
        names = ("token", "read", "finish", "advance")
        self._kernels = [device.kernel(variant, f"decode_{name}") for name in names]
        self._reserve()

    @property
    def state(self) -> MemoryState:
        """See `mcore.backend.Decoder`."""
        return drained(self.device, self.memory, self._ledger, self._like)

    def feed(self, inputs: Inputs, closes: Array | None) -> Array:
        """See `mcore.backend.Decoder`."""
        self.prepare(closes)
        y = self.answer_array()
        self.launch(token_of(self.decoding, inputs), y)
        self.account(closes)
        return y

    def answer_array(self) -> Array:
        """Room for y (B, 1, H, V)."""
        y: Array = self.device.xp.empty(self._shape, self.memory.online.dtype)
        return y

    def token_arrays(self) -> dict[str, Array]:
        """Zeros of the shapes of one token's inputs."""
        decoding, dims = self.decoding, self.decoding.dims._replace(T=1)._asdict()
        declared = decoding.rule.inputs | decoding.readout.inputs
        shapes = {name: tuple(dims[a] for a in axes.split()) for name, axes in declared.items()}
        dtype = self.memory.online.dtype
        return {name: self.device.xp.zeros(shape, dtype) for name, shape in shapes.items()}

    def launch(self, token: Token, y: Array) -> None:
        """The kernels of a token alone, into y (B, 1, H, V): what a CUDA graph can capture."""
        memory, dims, slots = self.memory, self.decoding.dims, self.memory.slots
        sizes, blocks = (dims.H, dims.K, dims.V, slots), dims.B * dims.H
        write, read, finish, advance = self._kernels
        known = (memory.online, memory.keys, memory.contexts, memory.books)
        found = (self._weights, self._chosen, self._answers, self._shares, self._logits)
        real = self._itemsize
        shared = real * (2 * THREADS + 2 * (dims.K + 4)) + 16 * 16
        write((blocks,), (THREADS,), (*token, *known, *found, *sizes, *self._factors), shared)
        parts = self._parts if slots else 0
        if parts:
            given = (token.q, memory.checkpoints, memory.books, self._weights, self._chosen)
            shared = real * (THREADS + dims.K + 8)
            read((blocks, parts), (THREADS,), (*given, self._partial, *sizes), shared)
        given = (self._answers, self._shares, self._partial, memory.closes, memory.online)
        kept = (memory.keys, memory.books, memory.checkpoints, memory.contexts)
        finish((blocks,), (THREADS,), (*given, *kept, y, *sizes, parts), 0)
        rows = (-(-dims.B // THREADS),)
        advance(rows, (THREADS,), (memory.books, memory.closes, dims.B, slots), 0)

    def prepare(self, closes: Array | None) -> None:
        """Room for the checkpoints of the rows that close, and word of it to the device."""
        slots = self.memory.slots
        if closes is None or not closes.any():
            return
        if slots and slots < self._limit and (self._books[closes, COUNT] == slots).any():
            more = min(2 * slots, self._limit)
            self.memory = grown(self.device, self.memory, more)
            self._ledger = np.pad(self._ledger, ((0, 0), (0, more - slots), (0, 0)))
            self._reserve()
        self.memory.closes[...] = self.device.upload(closes.astype(np.int32))

    def account(self, closes: Array | None) -> None:
        """What the host knows of the rows without asking."""
        books, slots = self._books, self.memory.slots
        books[:, LENGTH] += 1
        if closes is None or not closes.any():
            return
        rows = np.flatnonzero(closes)
        lengths, full = books[rows, LENGTH].copy(), books[rows, COUNT] == slots
        books[rows, LENGTH] = 0
        if not slots:
            return
        place = (books[rows, HEAD] + np.where(full, 0, books[rows, COUNT])) % slots
        self._ledger[rows, place] = 0
        self._ledger[rows, place, 0] = lengths
        books[rows, HEAD] = (books[rows, HEAD] + full) % slots
        books[rows, COUNT] += ~full

    def _reserve(self) -> None:
        """Scratch for the kernels, as large as the memory asks for."""
        xp, dims, slots = self.device.xp, self.decoding.dims, self.memory.slots
        dtype, lead = self.memory.online.dtype, (dims.B, dims.H)
        router = self.decoding.readout.routing
        top_k = (router.top_k or 0) if router else 0
        self._parts = max(1, min(top_k or slots, BLOCKS // (dims.B * dims.H)))
        self._itemsize, self._shape = dtype.itemsize, (dims.B, 1, dims.H, dims.V)
        self._weights, self._logits = (xp.zeros((*lead, slots), dtype) for _ in range(2))
        self._chosen = xp.zeros((*lead, max(top_k, 1)), "int32")
        self._answers, self._shares = xp.zeros((*lead, dims.V), dtype), xp.zeros(lead, dtype)
        self._partial = xp.zeros((*lead, self._parts, dims.V), dtype)
        self._factors = factors_of(self.decoding)
