"""`read` of perceptrons: every visible checkpoint is asked, its answer weighted by the gate."""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.cuts import cuts_on
from mcore.backends.cupy_gpu.deep_forms import real
from mcore.backends.cupy_gpu.deep_tiles import Counts, Tiling, tiling
from mcore.backends.cupy_gpu.device import Device, Kernel
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.sources import Variant
from mcore.recurrence import Recurrence
from mcore.segments import Segments

THREADS = 256

STRETCH = 256
"""Tokens from which a block chooses those that read a checkpoint, at most: one for each thread."""

BUSY = 264
"""Blocks that keep a GPU busy; stretches are shorter while there are fewer."""

FORWARD = Counts(by_key=1, weights=2, hidden=1, vectors=1, numbers=2 * STRETCH)
BACKWARD = Counts(by_key=2, weights=2, hidden=2, vectors=10, numbers=2 * STRETCH)


class DeepReadSaved(NamedTuple):
    """What `read` keeps: its inputs, contiguous, and E."""

    q: Array
    checkpoints: Array
    gates: Array | None
    segments: Segments
    width: int


def read(
    device: Device,
    rule: Recurrence,
    q: Array,
    checkpoints: Array,
    gates: Array | None,
    segments: Segments,
) -> tuple[Array, DeepReadSaved]:
    """See `mcore.backend.Backend.read`."""
    xp = device.xp
    q, checkpoints = xp.ascontiguousarray(q), xp.ascontiguousarray(checkpoints)
    weights = None if gates is None else xp.ascontiguousarray(gates)
    width = rule.unflatten(checkpoints, q.shape[-1]).shape[-1]
    saved = DeepReadSaved(q, checkpoints, weights, segments, width)
    y, tiles = xp.empty(q.shape, real(q)), _tiles(FORWARD, saved)
    stretch, grid = _stretches(saved, tiles)
    kernel = _kernel(device, saved, tiles, "deep_read")
    kernel(grid, (THREADS,), [*_common(device, saved), stretch, y], tiles.shared)
    return y.astype(q.dtype, copy=False), saved


def read_backward(
    device: Device, saved: DeepReadSaved, dy: Array
) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    xp, tiles = device.xp, _tiles(BACKWARD, saved)
    dy = xp.ascontiguousarray(dy)
    dq, d_states = xp.empty(dy.shape, real(dy)), xp.zeros_like(saved.checkpoints)
    d_gates = None if saved.gates is None else xp.zeros_like(saved.gates)
    common = _common(device, saved)
    tokens = _kernel(device, saved, tiles, "deep_read_tokens_backward")
    stretch, along = _stretches(saved, tiles)
    tokens(along, (THREADS,), [*common, stretch, dy, dq, d_gates], tiles.shared)
    grid = (saved.checkpoints.shape[1] * -(-saved.width // tiles.slice), _heads(saved))
    states = _kernel(device, saved, tiles, "deep_read_states_backward")
    states(grid, (THREADS,), [*common, dy, d_states], tiles.shared)
    return dq.astype(dy.dtype, copy=False), d_states, d_gates


DEEP_READ = Pair(read, read_backward)


def _common(device: Device, saved: DeepReadSaved) -> list[Any]:
    """The arguments that all three kernels begin with."""
    q, checkpoints, gates, segments, width = saved
    cuts = cuts_on(device, segments)
    _, tokens, heads, keys = q.shape
    count, size = checkpoints.shape[1], checkpoints.shape[-1]
    sizes = (tokens, heads, segments.count, count, count, keys, width, size)
    return [q, checkpoints, gates, cuts.first, cuts.last, cuts.segment, *sizes]


def _tiles(counts: Counts, saved: DeepReadSaved) -> Tiling:
    _, tokens, _, keys = saved.q.shape
    return tiling(counts, keys, saved.width, tokens, saved.checkpoints.itemsize)


def _kernel(device: Device, saved: DeepReadSaved, tiles: Tiling, name: str) -> Kernel:
    token = saved.q.dtype.name
    return device.kernel(Variant("deep_read", real(saved.q), token, tiles.sizes), name)


def _stretches(saved: DeepReadSaved, tiles: Tiling) -> tuple[int, tuple[int, int]]:
    """Tokens of a block's stretch, and the grid."""
    tokens, heads, stretch = saved.q.shape[1], _heads(saved), STRETCH
    while stretch > tiles.rows and -(-tokens // stretch) * heads < BUSY:
        stretch //= 2
    return stretch, (-(-tokens // stretch), heads)


def _heads(saved: DeepReadSaved) -> int:
    return int(saved.q.shape[0] * saved.q.shape[2])
