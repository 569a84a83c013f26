"""How a scan of matrix memories is laid out: its chunks and tiles, and calls of its kernels."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.chunks import Chunks, chunks_on
from mcore.backends.cupy_gpu.device import Device, Kernel
from mcore.backends.cupy_gpu.matrix_blocks import Blocks
from mcore.backends.cupy_gpu.sources import Variant
from mcore.segments import Segments

THREADS = 128
"""Of a block: THREADS in cuda/chunk.cuh."""

ROWS = {"float32": 64, "float64": 16}
"""Most tokens of a chunk, by the type of states."""

SHARED = 163 << 10
"""Bytes of shared memory that a block may have on every GPU that is supported."""

WIDEST = 64
"""Most columns of a tile of keys or values."""


class Place(NamedTuple):
    """Where states or their gradients lie: inside segments, at their ends, carried into rows."""

    inner: Array | None
    ends: Array
    carried: Array | None


class Shape(NamedTuple):
    """B, T, H, K, V, and S segments."""

    rows: int
    tokens: int
    heads: int
    keys: int
    values: int
    segments: int


@dataclass(frozen=True)
class Layout:
    """Of one scan.

    Attributes:
        device: what runs it.
        chunks: see `Chunks`.
        shape: of its arrays.
        tile: tokens of a chunk, keys and values of a tile.
        real, token: dtypes of states and of arrays over tokens.
    """

    device: Device
    chunks: Chunks
    shape: Shape
    tile: tuple[int, int, int]
    real: str
    token: str

    @property
    def key_tiles(self) -> int:
        """Tiles that hold the keys."""
        return -(-self.shape.keys // self.tile[1])

    @property
    def value_tiles(self) -> int:
        """Tiles that hold the values."""
        return -(-self.shape.values // self.tile[2])

    @property
    def entry_tiles(self) -> int:
        """Blocks that hold a thread for each entry of a state."""
        return -(-self.shape.keys * self.shape.values // THREADS)

    @property
    def blocks(self) -> Blocks:
        """Shared memory of the kernels."""
        return Blocks(*self.tile)

    def empty(self, *shape: int) -> Array:
        """Room for states, gradients or sums."""
        made: Array = self.device.xp.empty(shape, self.real)
        return made

    def inner(self) -> Array:
        """Room for the states inside segments."""
        return self.empty(self.chunks.states, *self.shape[2:5])

    def partial(self) -> Array:
        """Room for a number per token from each tile of keys (tiles, B, T, H)."""
        return self.empty(self.key_tiles, *self.shape[:3])

    def zeros(self, *segments: int) -> Array:
        """Empty memories (B, H, P), or (B, S, H, P)."""
        B, _, H, K, V, _ = self.shape
        made: Array = self.device.xp.zeros((B, *segments, H, K * V), self.real)
        return made

    def bytes(self, shared: tuple[int, ...]) -> int:
        """Of shared memory: matrices of so many numbers, behind the decays if there are any."""
        size = np.dtype(self.real).itemsize
        decay = self.tile[0] * (8 + 2 * size) if shared else 0
        return decay + sum((count * size + 15) & ~15 for count in shared)

    def launch(self, name: str, tiles: int, values: tuple[Any, ...], *shared: int) -> None:
        """Run `family.kernel` over chunks, heads and tiles.

        Args:
            values: its arguments, places unfolded, up to the sizes, which come last.
            shared: how many numbers each of its shared matrices has.
        """
        self._run(name, (len(self.chunks.table), self.shape.heads, tiles), values, shared)

    def chain(
        self, name: str, chains: Array, tiles: int, values: tuple[Any, ...], *shared: int
    ) -> None:
        """Run `family.kernel` over chains, heads and tiles; otherwise as `launch`."""
        self._run(name, (len(chains), self.shape.heads, tiles), values, shared)

    def flat(self, name: str, numbers: int, values: tuple[Any, ...]) -> None:
        """Run `family.kernel` with a thread for each of some numbers."""
        self._kernel(name)((-(-numbers // THREADS), 1, 1), (THREADS, 1, 1), values, 0)

    def _run(
        self,
        name: str,
        grid: tuple[int, int, int],
        values: tuple[Any, ...],
        shared: tuple[int, ...],
    ) -> None:
        unfolded: list[Any] = []
        for value in values:
            unfolded += value if isinstance(value, Place) else [value]
        taken = self.bytes(shared)
        self._kernel(name)(grid, (THREADS, 1, 1), (*unfolded, *self.shape[1:]), taken)

    def _kernel(self, name: str) -> Kernel:
        family, kernel = name.split(".")
        names = ("MC_ROWS", "MC_KEYS", "MC_VALUES")
        sizes = tuple(zip(names, self.tile, strict=True))
        return self.device.kernel(Variant(family, self.real, self.token, sizes), kernel)


def layout(device: Device, q: Array, values: int, segments: Segments) -> Layout:
    """For queries (B, T, H, K) and `values` columns of values."""
    real = state_type(q.dtype)
    longest = int(np.diff(segments.bounds, axis=1).max())
    rows = 16
    while rows < min(longest, ROWS[real]):
        rows *= 2
    B, T, H, K = q.shape
    shape = Shape(B, T, H, K, values, segments.count)
    tile = (rows, tile_width(K), tile_width(values))
    return Layout(device, chunks_on(device, segments, rows), shape, tile, real, q.dtype.name)


def state_type(token: Any) -> str:
    """The type of states and sums, for tokens of a dtype."""
    return "float64" if token == np.float64 else "float32"


def tile_width(width: int) -> int:
    """Columns of the tiles of a width: equally many in each, a multiple of 16."""
    tiles = -(-width // WIDEST)
    return -(-width // (16 * tiles)) * 16
