"""Mixtures of one layer of cached perceptrons: what `cuda/deep_soup.cu` computes, as functions.

With M_i (K, E) a layer of checkpoint i (w_in, or the transpose of w_out) and g_ti a token's gates,

    up        z_t = sum_i g_ti M_i^T x_t
    down      x_t = sum_i g_ti M_i z_t
"""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.cuts import cuts_on
from mcore.backends.cupy_gpu.deep_tiles import Counts, Tiling, tiling
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.sources import Variant
from mcore.segments import Segments

THREADS = 256

W_IN, W_OUT = 0, 1
"""The layers."""

NEEDED = Counts(by_key=1, weights=1, hidden=1)


class Cached(NamedTuple):
    """The cached memories of a soup.

    Attributes:
        checkpoints: (B, C, H, P), contiguous.
        gates: (B, T, H, C + 1), contiguous.
        segments: which of them are seen.
        keys, width: K and E.
        token: the dtype of arrays over tokens.
    """

    checkpoints: Array
    gates: Array
    segments: Segments
    keys: int
    width: int
    token: str


class Wanted(NamedTuple):
    """What `mix_down` adds to; None for what is not wanted.

    Attributes:
        x: (B, T, H, K) receives what is mixed.
        d_gates: (B, T, H, C + 1) receives the products of `along` with what each memory says.
        along: (B, T, H, K).
    """

    x: Array | None = None
    d_gates: Array | None = None
    along: Array | None = None


def mix_up(device: Device, cached: Cached, layer: int, x: Array) -> Array:
    """z (B, T, H, E) from x (B, T, H, K)."""
    rows, tokens, heads, _ = x.shape
    tiles = _tiles(cached)
    z: Array = device.xp.empty((rows, tokens, heads, cached.width), cached.checkpoints.dtype)
    slices = -(-cached.width // tiles.slice)
    grid = (-(-tokens // tiles.rows) * slices, rows * heads)
    _run(device, cached, "mix_up", grid, layer, [x, z])
    return z


def mix_down(device: Device, cached: Cached, layer: int, z: Array, wanted: Wanted) -> None:
    """From z (B, T, H, E)."""
    rows, tokens, heads, _ = z.shape
    grid = (-(-tokens // _tiles(cached).rows), rows * heads)
    _run(device, cached, "mix_down", grid, layer, [z, wanted.along, wanted.x, wanted.d_gates])


def mix_outwards(
    device: Device, cached: Cached, layer: int, pair: tuple[Array, Array], d_states: Array
) -> None:
    """Set the layer's part of d_states (B, C, H, P) from x and z, of which one is a gradient."""
    rows, count, heads, _ = d_states.shape
    grid = (count * -(-cached.width // _tiles(cached).slice), rows * heads)
    _run(device, cached, "mix_outwards", grid, layer, [*pair, d_states])


def _run(
    device: Device, cached: Cached, name: str, grid: tuple[int, int], layer: int, arrays: list[Any]
) -> None:
    tiles, cuts = _tiles(cached), cuts_on(device, cached.segments)
    _, tokens, heads, gated = cached.gates.shape
    count, size = cached.checkpoints.shape[1], cached.checkpoints.shape[-1]
    sizes = (tokens, heads, cached.segments.count, count, gated, cached.keys, cached.width, size)
    common = [cached.checkpoints, cached.gates, cuts.first, cuts.last, cuts.segment, *sizes, layer]
    real = cached.checkpoints.dtype.name
    kernel = device.kernel(Variant("deep_soup", real, cached.token, tiles.sizes), name)
    kernel(grid, (THREADS,), [*common, *arrays], tiles.shared)


def _tiles(cached: Cached) -> Tiling:
    item = cached.checkpoints.itemsize
    return tiling(NEEDED, cached.keys, cached.width, cached.gates.shape[1], item)
