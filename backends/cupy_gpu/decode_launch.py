"""The launches of a token, and the scratch that its kernels share."""

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.decode_plan import factors_of, plan_of, sizes_of, variant_of
from mcore.backends.cupy_gpu.decode_state import Memory
from mcore.backends.cupy_gpu.decode_token import Token
from mcore.backends.cupy_gpu.device import Device

THREADS = 256
BLOCKS = 512
"""Blocks that fill a large GPU: checkpoints are shared out so that there are about as many."""

CONTEXTS = 32
"""Contexts of checkpoints that are worth a block."""


class Launcher:
    """The kernels of one composition: three a token, and nothing but kernels.

    Attributes:
        device, sizes: where, and the composition's lengths.
    """

    def __init__(self, device: Device, decoding: Decoding, memory: Memory) -> None:
        self.device, self.sizes = device, sizes_of(decoding)
        self._scale, self._rate = factors_of(decoding)
        # Ready for kernels, as the lengths below: converting them at each launch takes time.
        self._plan, self._top_k = np.int32(plan_of(decoding)), np.int32(self.sizes.top_k)
        self._routes = decoding.readout.routing is not None
        variant = variant_of(decoding, memory.online.dtype.name)
        names = ("token", "read", "finish")
        self._kernels = [device.kernel(variant, f"decode_{name}") for name in names]
        self._itemsize = memory.online.dtype.itemsize
        self.reserve(memory)

    def reserve(self, memory: Memory) -> None:
        """Scratch as large as the memory asks for."""
        xp, sizes, slots = self.device.xp, self.sizes, memory.slots
        entries, dtype = len(memory.books) * sizes.heads, memory.online.dtype
        self._logits = xp.zeros((entries, slots), dtype)
        self._own_logits, self._shares = (xp.zeros(entries, dtype) for _ in range(2))
        self._answers, self._offsets = (xp.zeros((entries, sizes.values), dtype) for _ in range(2))
        lengths = (sizes.heads, sizes.keys, sizes.rows, sizes.width, sizes.values, slots)
        self._lengths = tuple(map(np.int32, lengths))
        self._asked = (self._lengths[0], np.int32(sizes.asked), *self._lengths[2:])
        parts = max(entries, min(BLOCKS, entries * slots))
        self._partial = xp.zeros((parts, sizes.values), dtype)

    def run(self, token: Token, memory: Memory, fed: Array | None, y: Array) -> None:
        """A token of the rows `fed` (n,) int32 on the device, None for all, into y (n, 1, H, V)."""
        sizes, slots, entries = self.sizes, memory.slots, len(y) * self.sizes.heads
        parts = max(1, min(sizes.top_k or slots, BLOCKS // entries)) if slots else 0
        self._write(token, memory, fed, entries)
        if parts:
            self._read(token, memory, fed, (entries, parts))
        given = (self._answers, self._shares, self._partial, fed, memory.closes, memory.online)
        kept = (memory.keys, memory.books, memory.checkpoints, memory.scales, memory.contexts, y)
        told = (self._plan, *self._lengths, self._top_k, parts)
        self._kernels[2]((entries,), (THREADS,), (*given, *kept, *told), 0)

    def _write(self, token: Token, memory: Memory, fed: Array | None, entries: int) -> None:
        sizes, slots = self.sizes, memory.slots
        known = (fed, memory.online, memory.keys, memory.contexts, memory.books)
        found = (self._logits, self._own_logits, self._answers, self._offsets, self._plan)
        given = (*token.written, *known, *found, *self._lengths, self._scale)
        logits = max(1, min(slots // CONTEXTS, BLOCKS // entries)) if slots and self._routes else 0
        shared = self._shared(2 * THREADS + 5 * (sizes.keys + 4) + sizes.gates * sizes.values)
        self._kernels[0]((entries, 1 + logits), (THREADS,), given, shared)

    def _read(self, token: Token, memory: Memory, fed: Array | None, grid: tuple[int, int]) -> None:
        sizes = self.sizes
        known = (self._offsets, fed, memory.checkpoints, memory.scales, memory.books)
        found = (self._logits, self._own_logits, self._shares, self._partial, self._plan)
        given = (*token.asked, *known, *found, *self._asked, self._top_k, self._rate)
        shared = self._shared(4 * THREADS + sizes.asked + 2 * sizes.top_k + 64)
        self._kernels[1](grid, (THREADS,), given, shared)

    def _shared(self, reals: int) -> int:
        """Bytes for so many numbers, and what whole lines and a few other things take."""
        return self._itemsize * reals + 16 * 16
