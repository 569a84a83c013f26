"""How a vector memory's scan is laid over the GPU: widths, rows of a block, shared memory."""

from typing import NamedTuple

from mcore.backends.cupy_gpu.sources import Variant

BLOCKS = 264
"""Blocks that keep the multiprocessors of a large GPU busy, two on each; of wide heads, one."""

LARGEST_SHARED = 163 << 10
"""Bytes of shared memory that a block may have on every GPU we compile for."""

WIDEST = 128
"""Channels whose threads, four for each, a block can hold with registers enough."""

_THREADS_OF_CHANNEL = 4
_QUAD = 4
"""Weights that a thread loads at once."""


class VectorPlan(NamedTuple):
    """What the kernels of a scan are compiled for, and started with.

    Attributes:
        variant: of the source.
        rows: runs of a block, which go in step; 0 if a head's recurrent weights do not fit on one
            multiprocessor, so that steps are taken one by one.
        threads: of a block.
        forward, backward: bytes of shared memory.
    """

    variant: Variant
    rows: int
    threads: int
    forward: int
    backward: int


class VectorShape(NamedTuple):
    """What decides a plan.

    Attributes:
        rule: name of it.
        real, token: dtypes of states and of arrays over tokens.
        width, gates: V and G.
    """

    rule: str
    real: str
    token: str
    width: int
    gates: int


def plan(shape: VectorShape, runs: int, heads: int) -> VectorPlan:
    """The layout for `runs` runs of `heads` heads."""
    width = -(-shape.width // 16) * 16
    most = BLOCKS if width <= 64 else BLOCKS // 2
    rows = next((n for n in (1, 2) if -(-runs // n) * heads <= most), 4)
    size = 8 if shape.real == "float64" else 4
    held = 8 if size == 8 else 16 if width <= 64 else 14
    quads, back_quads = width // 16, -(-shape.gates * width // 64)
    forward = 2 * rows * (width + 8) * size + _stored(quads * shape.gates - held, width, size)
    backward = 2 * rows * (64 * back_quads + 8) * size + _stored(4 * back_quads - held, width, size)
    if width > WIDEST or max(forward, backward) > LARGEST_SHARED:
        return VectorPlan(_variant(shape, 1, 16, 8 if size == 8 else 16), 0, 256, 0, 0)
    variant = _variant(shape, rows, width, held)
    return VectorPlan(variant, rows, _THREADS_OF_CHANNEL * width, forward, backward)


def _variant(shape: VectorShape, rows: int, width: int, held: int) -> Variant:
    sizes = (("MC_HELD", held), ("MC_ROWS", rows), ("MC_WIDTH", width))
    return Variant(shape.rule, shape.real, shape.token, sizes)


def _stored(quads: int, width: int, size: int) -> int:
    """Bytes of the weights that registers do not hold, so many quads of each thread."""
    return max(quads, 0) * _THREADS_OF_CHANNEL * width * _QUAD * size
