"""The launches of a token, and the scratch that its kernels share."""

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.decode_plan import factors_of, plan_of, sizes_of, variant_of
from mcore.backends.cupy_gpu.decode_state import Memory
from mcore.backends.cupy_gpu.decode_token import Token
from mcore.backends.cupy_gpu.device import Device

THREADS = 256
BLOCKS = 512
"""Blocks that fill a large GPU: checkpoints are shared out so that there are about as many."""


class Launcher:
    """The kernels of one composition: four a token, and nothing but kernels.

    Attributes:
        device, sizes: where, and the composition's lengths.
    """

    def __init__(self, device: Device, decoding: Decoding, memory: Memory) -> None:
        self.device, self.sizes = device, sizes_of(decoding)
        self._plan, self._factors = plan_of(decoding), factors_of(decoding)
        variant = variant_of(decoding, memory.online.dtype.name)
        names = ("token", "read", "finish", "advance")
        self._kernels = [device.kernel(variant, f"decode_{name}") for name in names]
        self._itemsize = memory.online.dtype.itemsize
        self.reserve(memory)

    def reserve(self, memory: Memory) -> None:
        """Scratch as large as the memory asks for."""
        xp, sizes, slots = self.device.xp, self.sizes, memory.slots
        entries, dtype = len(memory.books) * sizes.heads, memory.online.dtype
        self._weights, self._logits = (xp.zeros((entries, slots), dtype) for _ in range(2))
        self._chosen = xp.zeros((entries, max(sizes.top_k, 1)), "int32")
        self._answers, self._offsets = (xp.zeros((entries, sizes.values), dtype) for _ in range(2))
        self._shares = xp.zeros(entries, dtype)
        parts = max(entries, min(BLOCKS, entries * slots))
        self._partial = xp.zeros((parts, sizes.values), dtype)

    def run(self, token: Token, memory: Memory, fed: Array | None, y: Array) -> None:
        """A token of the rows `fed` (n,) int32 on the device, None for all, into y (n, 1, H, V)."""
        sizes, slots, entries = self.sizes, memory.slots, len(y) * self.sizes.heads
        parts = max(1, min(sizes.top_k or slots, BLOCKS // entries)) if slots else 0
        self._write(token, memory, fed, entries)
        if parts:
            self._read(token, memory, fed, (entries, parts))
        lengths = (sizes.heads, sizes.keys, sizes.rows, sizes.width, sizes.values, slots, parts)
        given = (self._answers, self._shares, self._partial, fed, memory.closes, memory.online)
        kept = (memory.keys, memory.books, memory.checkpoints, memory.scales, memory.contexts, y)
        _, _, finish, advance = self._kernels
        finish((entries,), (THREADS,), (*given, *kept, self._plan, *lengths), 0)
        blocks = (-(-len(y) // THREADS),)
        advance(blocks, (THREADS,), (fed, memory.books, memory.closes, len(y), slots), 0)

    def _write(self, token: Token, memory: Memory, fed: Array | None, entries: int) -> None:
        sizes = self.sizes
        known = (fed, memory.online, memory.keys, memory.contexts, memory.books)
        found = (self._weights, self._chosen, self._answers, self._shares, self._logits)
        lengths = (sizes.heads, sizes.keys, sizes.rows, sizes.width, sizes.values, memory.slots)
        told = (self._plan, *lengths, sizes.top_k, *self._factors)
        given = (*token.written, *known, *found, self._offsets, *told)
        shared = self._shared(3 * THREADS + 5 * (sizes.keys + 4) + 8)
        self._kernels[0]((entries,), (THREADS,), given, shared)

    def _read(self, token: Token, memory: Memory, fed: Array | None, grid: tuple[int, int]) -> None:
        sizes = self.sizes
        known = (self._offsets, fed, memory.checkpoints, memory.scales, memory.books)
        found = (self._weights, self._chosen, self._partial, self._plan)
        lengths = (sizes.heads, sizes.asked, sizes.rows, sizes.width, sizes.values, memory.slots)
        given = (*token.asked, *known, *found, *lengths, sizes.top_k)
        shared = self._shared(2 * THREADS + sizes.asked + 2 * 16 + 16)
        self._kernels[1](grid, (THREADS,), given, shared)

    def _shared(self, reals: int) -> int:
        """Bytes for so many numbers, and a few pairs of a number and an age."""
        return self._itemsize * reals + 16 * 16
