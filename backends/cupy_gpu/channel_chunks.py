"""Where chunks of tokens begin, on the device; and how large they are.

Every segment is cut into chunks of its own: no chunk holds tokens of two segments.
"""

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.cuts import KEPT
from mcore.backends.cupy_gpu.device import Device
from mcore.errors import BackendError
from mcore.segments import Segments

COMFORTABLE, MOST = 113 << 10, 160 << 10
"""Bytes of shared memory with which two blocks fit on one processor, and at all."""

SUB = 16
"""Tokens of a sub-chunk; see `cuda/channel.cuh`."""


class Chunks(NamedTuple):
    """int32, on the device.

    Attributes:
        table: (N, 3) row, first token and number of tokens of each chunk, in their order.
        firsts: (B, S + 1) the first chunk of each segment.
    """

    table: Array
    firsts: Array


class Tiles(NamedTuple):
    """Sizes that a kernel is compiled for; multiples of 16.

    Attributes:
        pairs: 2 if there is removal, else 1.
        keys: key width, filled up.
        values: values that are worked on at a time.
        chunk: tokens of a chunk.
    """

    pairs: int
    keys: int
    values: int
    chunk: int

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """As `Variant` takes them."""
        names = ("MC_KEYS", "MC_VALUES", "MC_CHUNK")
        return tuple(zip(names, self[1:], strict=True))

    @property
    def operands(self) -> int:
        """Numbers of one operand in shared memory."""
        return self.chunk * (self.keys + 4)

    @property
    def square(self) -> int:
        """Numbers of a matrix over tokens x tokens."""
        return self.chunk * (self.chunk + 4)

    @property
    def rows(self) -> int:
        """Numbers of a tile of values of all tokens."""
        return self.chunk * (self.values + 4)

    @property
    def state(self) -> int:
        """Numbers of a tile of a state."""
        return self.keys * (self.values + 4)

    @property
    def factors(self) -> int:
        """Numbers of the factors between sub-chunks."""
        subs = self.chunk // SUB
        return (subs + (subs + 1) ** 2) * self.keys

    def multiplying(self) -> int:
        """Numbers in shared memory of what a chunk adds to a state, or to its gradient."""
        return 2 * self.operands + self.factors + self.rows

    def walking(self) -> int:
        """Numbers in shared memory of a kernel that goes past the chunks of a run."""
        values = self.pairs * self.rows + (self.pairs - 1) * self.state
        return (self.pairs + 1) * self.operands + self.factors + values

    def preparing(self) -> int:
        """Numbers in shared memory of what removal needs of a chunk."""
        values = max(self.operands, self.rows)
        return 4 * self.square + 2 * self.pairs * self.operands + self.factors + values

    def answering(self) -> int:
        """Numbers in shared memory of the answers of a chunk."""
        values = max(self.operands, self.pairs * self.rows + self.state)
        return self.pairs * self.square + (1 + self.pairs) * self.operands + self.factors + values

    def differentiating(self) -> int:
        """Numbers in shared memory of the gradients of a chunk."""
        subs = self.chunk // SUB
        squares = (self.pairs**2 + self.pairs - 1) * self.square
        passing = (1 + subs + subs**2) * self.keys
        values = max(self.operands, 2 * self.pairs * self.rows + 2 * self.state)
        return squares + passing + 2 * self.pairs * self.operands + self.factors + values


def tiles_for(kind: str, pairs: int, widths: tuple[int, int], itemsize: int) -> Tiles:
    """The largest chunk with which the kernels fit; widths: K and V.

    Raises:
        BackendError: none fits.
    """
    keys, values = (-(-width // 16) * 16 for width in widths)
    found = [Tiles(pairs, keys, min(values, 32), chunk) for chunk in (64, 32, 16)]
    for bytes_, tiles in ((limit, tiles) for limit in (COMFORTABLE, MOST) for tiles in found):
        if tiles.differentiating() * itemsize <= bytes_:
            return tiles
    raise BackendError(
        f"backend cupy: {kind} with keys of width {widths[0]} in {8 * itemsize} bits needs "
        f"{found[-1].differentiating() * itemsize >> 10} KiB of shared memory, {MOST >> 10} would "
        "do; narrower heads, more of them, or float32 would do"
    )


def chunks_on(device: Device, segments: Segments, length: int) -> Chunks:
    """The chunks of a call, copied to the device unless they are there already."""
    key = (id(device), length, segments.bounds.shape, segments.bounds.tobytes())
    found = _kept.get(key)
    if found is None:
        table, firsts = cut(segments.bounds, length)
        found = Chunks(device.upload(table), device.upload(firsts))
        _kept[key] = found
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return found


def cut(bounds: Array, length: int) -> tuple[Array, Array]:
    """`Chunks` on the host, of segments with these bounds (B, S + 1)."""
    lengths = np.diff(bounds, axis=1)
    numbers = -(-lengths // length)
    ends = np.cumsum(numbers).reshape(numbers.shape)
    firsts = np.concatenate([ends[:, :1] - numbers[:, :1], ends], axis=1)
    row, segment = (np.repeat(x.ravel(), numbers.ravel()) for x in np.indices(numbers.shape))
    place = np.arange(int(ends[-1, -1])) - firsts[row, segment]
    begin = bounds[row, segment] + place * length
    count = np.minimum(length, bounds[row, segment + 1] - begin)
    table = np.stack([row, begin, count], axis=1)
    return table.astype(np.int32), firsts.astype(np.int32)


_kept: OrderedDict[Any, Chunks] = OrderedDict()
