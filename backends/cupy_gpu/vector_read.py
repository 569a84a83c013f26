"""`read` of vector memories: the weighted sum of the cached h, as products of blocks.

y_t = sum_i gates_t,i h_i
"""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.cuts import Cuts, cuts_on
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.sources import Variant
from mcore.recurrence import Recurrence
from mcore.segments import Segments

SIDE, DEPTH, THREADS = 64, 32, 128
"""Of the blocks: see `vector_read.cu`."""


class VectorReadSaved(NamedTuple):
    """What `read` keeps: its arguments as the kernels take them.

    Attributes:
        variant: of the source.
        q: (B, T, H, 0) the queries, which say nothing.
        states: (B, C, H, n, V).
        gates: (B, T, H, C), or None.
        cuts: who sees what.
    """

    variant: Variant
    q: Array
    states: Array
    gates: Array | None
    cuts: Cuts

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of tokens, heads, columns, vectors of a state, channels and segments."""
        tokens, heads = self.q.shape[1:3]
        _, columns, _, vectors, width = self.states.shape
        return tokens, heads, columns, vectors, width, self.cuts.restart.shape[1]


def read(
    device: Device,
    rule: Recurrence,
    q: Array,
    checkpoints: Array,
    gates: Array | None,
    segments: Segments,
) -> tuple[Array, VectorReadSaved]:
    """See `mcore.backend.Backend.read`."""
    xp, real = device.xp, checkpoints.dtype
    saved = VectorReadSaved(
        Variant("vector_read", real.name, q.dtype.name),
        q,
        rule.unflatten(xp.ascontiguousarray(checkpoints), 0),
        None if gates is None else xp.ascontiguousarray(gates, real),
        cuts_on(device, segments),
    )
    tokens, heads, _, _, width, _ = saved.sizes
    y = xp.empty((len(q), tokens, heads, width), q.dtype)
    _run(device, saved, "vector_read", (saved.gates, saved.states, y), (tokens, width))
    return y, saved


def read_backward(
    device: Device, saved: VectorReadSaved, dy: Array
) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    xp = device.xp
    dy = xp.ascontiguousarray(dy, saved.q.dtype)
    tokens, _, columns, _, width, _ = saved.sizes
    d_states = xp.zeros_like(saved.states)
    arrays = (saved.gates, dy, d_states)
    _run(device, saved, "vector_read_checkpoints", arrays, (columns, width))
    dq, d_checkpoints = xp.zeros_like(saved.q), d_states.reshape(*d_states.shape[:3], -1)
    if saved.gates is None:
        return dq, d_checkpoints, None
    d_gates = xp.empty_like(saved.gates)
    _run(device, saved, "vector_read_gates", (saved.states, dy, d_gates), (tokens, columns))
    return dq, d_checkpoints, d_gates


def _run(
    device: Device, saved: VectorReadSaved, name: str, arrays: Any, sides: tuple[int, int]
) -> None:
    """Run a kernel whose result is `sides` large, in blocks, per row and head."""
    first, second, out = arrays
    cuts, (rows, _, heads, _) = saved.cuts, saved.q.shape
    down, across = (-(-side // SIDE) for side in sides)
    size = saved.states.dtype.itemsize
    shared = 2 * max(SIDE * (DEPTH + 4), DEPTH * (SIDE + 8)) * size
    kernel = device.kernel(saved.variant, name)
    given = (first, second, cuts.segment, cuts.first, cuts.last, out, *saved.sizes)
    kernel((down * across, heads, rows), (THREADS,), given, shared)


VECTOR_READ = Pair(read, read_backward)
