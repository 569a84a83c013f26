"""`scan` of memories with a decay per key channel, on the GPU; see `cuda/channel_scan.cu`."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu.channel_chunks import Chunks, Tiles, chunks_on, tiles_for
from mcore.backends.cupy_gpu.cuts import Cuts, cuts_on
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.sources import Variant
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments

THREADS = (256,)


class Call(NamedTuple):
    """What all kernels of a scan share.

    Attributes:
        variant: of the source.
        tiles: its sizes.
        chunks, cuts: integers on the device.
        widths: T, H, K, V.
        rows: B.
        segments: S.
    """

    variant: Variant
    tiles: Tiles
    chunks: Chunks
    cuts: Cuts
    widths: tuple[int, int, int, int]
    rows: int
    segments: int

    @property
    def states(self) -> tuple[int, ...]:
        """Shape of one state for each chunk."""
        _, heads, keys, values = self.widths
        return (len(self.chunks.table), heads, keys, values)

    def run_chunks(
        self, device: Device, name: str, arrays: list[Any], numbers: int, tiles: int = 1
    ) -> None:
        """A kernel that does every chunk, head and tile by itself; numbers: in shared memory."""
        grid = (len(self.chunks.table), self.widths[1], tiles)
        held = [*arrays, self.chunks.table, *self.widths]
        device.kernel(self.variant, name)(grid, THREADS, held, numbers * self.itemsize)

    def run_runs(
        self, device: Device, name: str, arrays: list[Any], numbers: int, tiles: int
    ) -> None:
        """A kernel that goes past the chunks of every run; numbers: in shared memory."""
        grid = (self.rows * self.segments, self.widths[1], tiles)
        cuts = [self.cuts.bounds, self.cuts.restart, self.chunks.firsts]
        arrays, flags = (
            [x for x in arrays if isinstance(x, bool) == flag] for flag in (False, True)
        )
        held = [*arrays, *cuts, *flags, self.segments, *self.widths]
        device.kernel(self.variant, name)(grid, THREADS, held, numbers * self.itemsize)

    @property
    def value_tiles(self) -> int:
        """Tiles of values."""
        return -(-self.widths[3] // self.tiles.values)

    @property
    def entry_tiles(self) -> int:
        """Blocks that hold a thread for each entry of a state."""
        return -(-self.widths[2] * self.widths[3] // THREADS[0])

    @property
    def itemsize(self) -> int:
        """Bytes of a number in shared memory."""
        return np.dtype(self.variant.real).itemsize


class ScanSaved(NamedTuple):
    """What `scan` keeps: the call, its inputs by name, the state that came in, checkpoints."""

    call: Call
    inputs: dict[str, Array]
    carry: Array | None
    checkpoints: Array


def scan(
    device: Device, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, ScanSaved]:
    """See `mcore.backend.Backend.scan`."""
    call, x, start = opened(device, "channel_scan", (rule, inputs, carry, segments))
    _, heads, keys, values = call.widths
    real = call.variant.real
    shape = (call.rows, call.segments, heads, keys * values)
    checkpoints, reads = device.xp.zeros(shape, real), device.xp.empty_like(x["v"])
    states, _ = channel_states(device, call, x, (start, checkpoints), apart=False)
    arrays = [x["q"], x["k"], x["v"], x["log_decay"], states, reads]
    call.run_chunks(device, "channel_answers", arrays, call.tiles.answering())
    return Scan(reads, checkpoints), ScanSaved(call, x, start, checkpoints)


def scan_backward(
    device: Device, saved: ScanSaved, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    call, x, xp = saved.call, saved.inputs, device.xp
    d_reads = xp.ascontiguousarray(d_reads, x["v"].dtype)
    d_ends = xp.ascontiguousarray(d_checkpoints, call.variant.real)
    states, wholes = channel_states(device, call, x, (saved.carry, saved.checkpoints), apart=True)
    d_states = xp.empty_like(states)
    arrays = [x["q"], d_reads, x["log_decay"], d_states]
    call.run_chunks(device, "channel_reads", arrays, call.tiles.multiplying(), call.value_tiles)
    d_carry = None if saved.carry is None else xp.zeros_like(saved.carry)
    arrays = [wholes, d_ends, d_carry, d_states]
    call.run_runs(device, "channel_state_gradients", arrays, 0, call.entry_tiles)
    found = {name: xp.empty_like(x[name]) for name in ("q", "k", "v", "log_decay")}
    arrays = [x["q"], x["k"], x["v"], x["log_decay"], states, d_states, d_reads, *found.values()]
    call.run_chunks(device, "channel_gradients", arrays, call.tiles.differentiating())
    return found, d_carry


def channel_states(
    device: Device,
    call: Call,
    x: dict[str, Array],
    known: tuple[Array | None, Array],
    apart: bool,
) -> tuple[Array, Array]:
    """The state before each chunk, and decays of chunks; known: what comes in, and checkpoints.

    Checkpoints are written; or, if every segment goes on from them `apart`, read.
    """
    xp, real = device.xp, call.variant.real
    states, wholes = xp.empty(call.states, real), xp.empty(call.states[:3], real)
    arrays = [x["k"], x["v"], x["log_decay"], states, wholes]
    call.run_chunks(device, "channel_writes", arrays, call.tiles.multiplying(), call.value_tiles)
    arrays = [wholes, *known, states, apart]
    call.run_runs(device, "channel_states", arrays, 0, call.entry_tiles)
    return states, wholes


def opened(
    device: Device,
    family: str,
    arguments: tuple[Recurrence, Inputs, Array | None, Segments],
) -> tuple[Call, dict[str, Array], Array | None]:
    """The call of a source's kernels, and arrays as they want them: inputs, and what came in."""
    rule, inputs, carry, segments = arguments
    xp, q = device.xp, inputs["q"]
    rows, tokens, heads, keys = q.shape
    real, values = "float64" if q.dtype == np.float64 else "float32", inputs["v"].shape[-1]
    pairs = 2 if "kk" in rule.inputs else 1
    tiles = tiles_for(rule.kind, pairs, (keys, values), np.dtype(real).itemsize)
    call = Call(
        Variant(family, real, q.dtype.name, tiles.sizes), tiles,
        chunks_on(device, segments, tiles.chunk), cuts_on(device, segments),
        (tokens, heads, keys, values), rows, segments.count,
    )  # fmt: skip
    x = {
        name: xp.ascontiguousarray(inputs[name], real if name == "log_decay" else q.dtype)
        for name in rule.inputs
    }
    return call, x, None if carry is None else xp.ascontiguousarray(carry, real)


CHANNEL_SCAN = Pair(scan, scan_backward)
