"""How routing and reads are cut into blocks of tokens, and compiled for their widths."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device, Kernel, Shape
from mcore.backends.cupy_gpu.sources import Variant
from mcore.errors import BackendError

COLUMNS = 16
"""Checkpoints that a block weighs at a time."""

WIDEST = 256
"""Keys or values that the kernels have room for."""


class Plan(NamedTuple):
    """Kernels of a source for given widths.

    Attributes:
        device: what runs them.
        variant: which source, for which types and widths.
        rows: tokens of a block.
        keys, values: padded widths.
    """

    device: Device
    variant: Variant
    rows: int
    keys: int
    values: int

    @property
    def real(self) -> str:
        """dtype of states, gates and sums."""
        return self.variant.real

    @property
    def slab(self) -> int:
        """Rows of a state that a block holds at a time."""
        return self.keys if self.keys <= 64 else 32

    def kernel(self, name: str) -> Kernel:
        """A kernel of the source."""
        return self.device.kernel(self.variant, name)

    @property
    def threads(self) -> int:
        """Of a block, where its source does not say otherwise."""
        return 2 * self.rows

    def run(self, name: str, grid: Shape, arguments: Sequence[Any], shared: int = 0) -> None:
        """Start a kernel; nothing if there is no block."""
        if min(grid) > 0:
            self.kernel(name)(grid, (self.threads,), arguments, shared)

    def bytes(self, *counts: int, integers: int = 0) -> int:
        """Shared memory for pieces of so many numbers each, and for integers."""
        size = np.dtype(self.real).itemsize
        return sum(_up(count * size, 16) for count in counts) + _up(4 * integers, 16)

    def array(self, shape: Sequence[int], zero: bool = False) -> Array:
        """A new array of real numbers."""
        xp = self.device.xp
        made: Array = (xp.zeros if zero else xp.empty)(tuple(shape), self.real)
        return made

    def numbers(self, x: Array) -> Array:
        """`x` as the kernels take it where they want real numbers."""
        taken: Array = self.device.xp.ascontiguousarray(x, self.real)
        return taken

    def tokens(self, x: Array) -> Array:
        """`x` as the kernels take it where they want numbers of tokens."""
        taken: Array = self.device.xp.ascontiguousarray(x, self.variant.token)
        return taken


def plan(device: Device, family: str, like: Array, keys: int, values: int = 0) -> Plan:
    """Kernels for tokens like `like` and these widths.

    Raises:
        BackendError: there is no room for such widths.
    """
    token = like.dtype.name
    real = "float64" if token == "float64" else "float32"
    widest = max(keys, values)
    if widest > WIDEST:
        raise BackendError(
            f"backend cupy: keys and values of {keys} and {values} channels per head are too wide; "
            f"up to {WIDEST} would do: more heads, or backend numba"
        )
    rows = 32 if real == "float64" or widest > 128 else 64 if widest > 64 else 128
    wide = [_up(max(width, 1), 16 if width <= 64 else 32) for width in (keys, values)]
    sizes = {"MC_ROWS": rows, "MC_COLUMNS": COLUMNS, "MC_KEYS": wide[0]}
    if values:
        sizes["MC_VALUES"] = wide[1]
    return Plan(device, Variant(family, real, token, tuple(sizes.items())), rows, *wide)


def row(columns: int) -> int:
    """How far the rows of a matrix lie apart in shared memory."""
    return columns + 4


def blocks(count: int, size: int) -> int:
    """How many blocks of a size hold so many."""
    return -(-count // size)


def _up(n: int, to: int) -> int:
    return blocks(n, to) * to
