"""`scan` of RWKV-7's memory on the GPU; see `cuda/rwkv7_scan.cu`."""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu.channel_scan import Call, ScanSaved, opened
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments

WRITES = ("k", "v", "log_decay", "kk", "a")


class Removal(NamedTuple):
    """What removal needs of all chunks.

    Attributes:
        keys: (B, T, H, K) W, what of a state is taken away.
        removed: (B, T, H, V) U, later U_1, what is taken away.
        inverses: (N, H, n, n) of each chunk; None in forward.
        d_removed: (B, T, H, V) gradient of U_1; None in forward.
    """

    keys: Array
    removed: Array
    inverses: Array | None
    d_removed: Array | None


def scan(
    device: Device, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, ScanSaved]:
    """See `mcore.backend.Backend.scan`."""
    call, x, start = opened(device, "rwkv7_scan", (rule, inputs, carry, segments))
    xp, shape = device.xp, (call.rows, call.segments, *call.states[1:])
    checkpoints = xp.zeros((*shape[:3], shape[3] * shape[4]), call.variant.real)
    removal = prepared(device, call, x, None)
    states = rwkv7_states(device, call, x, (removal, start, checkpoints), apart=False)
    reads = xp.empty_like(x["v"])
    arrays = [*(x[name] for name in ("q", *WRITES)), removal.removed, states, reads]
    call.run_chunks(device, "rwkv7_answers", arrays, call.tiles.answering())
    return Scan(reads, checkpoints), ScanSaved(call, x, start, checkpoints)


def scan_backward(
    device: Device, saved: ScanSaved, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    call, x, xp = saved.call, saved.inputs, device.xp
    d_reads = xp.ascontiguousarray(d_reads, x["v"].dtype)
    d_ends = xp.ascontiguousarray(d_checkpoints, call.variant.real)
    removal = prepared(device, call, x, d_reads)
    known = (removal, saved.carry, saved.checkpoints)
    states = rwkv7_states(device, call, x, known, apart=True)
    d_states = xp.empty_like(states)
    d_carry = None if saved.carry is None else xp.zeros_like(saved.carry)
    arrays = [x["q"], x["log_decay"], x["kk"], x["a"], removal.keys, d_reads, removal.d_removed]
    arrays += [d_ends, d_carry, d_states]
    walking = call.tiles.walking()
    call.run_runs(device, "rwkv7_state_gradients", arrays, walking, call.value_tiles)
    found = {name: xp.empty_like(x[name]) for name in ("q", *WRITES)}
    arrays = [*(x[name] for name in found), removal.removed, states, d_states, d_reads]
    arrays += [removal.d_removed, removal.inverses, *found.values()]
    call.run_chunks(device, "rwkv7_gradients", arrays, call.tiles.differentiating())
    return found, d_carry


def prepared(device: Device, call: Call, x: dict[str, Array], d_reads: Array | None) -> Removal:
    """What needs no state; with `d_reads` for backward too."""
    xp, real = device.xp, call.variant.real
    removal = Removal(xp.empty(x["k"].shape, real), xp.empty(x["v"].shape, real), None, None)
    if d_reads is not None:
        chunk, heads = call.tiles.chunk, call.widths[1]
        inverses = xp.empty((len(call.chunks.table), heads, chunk, chunk), real)
        removal = removal._replace(inverses=inverses, d_removed=xp.empty_like(removal.removed))
    arrays = [*(x[name] for name in ("q", *WRITES)), d_reads, *removal]
    call.run_chunks(device, "rwkv7_prepare", arrays, call.tiles.preparing())
    return removal


def rwkv7_states(
    device: Device,
    call: Call,
    x: dict[str, Array],
    known: tuple[Removal, Array | None, Array],
    apart: bool,
) -> Array:
    """The state before each chunk, and U_1; known: also what comes in, and checkpoints.

    Checkpoints are written; or, if every segment goes on from them `apart`, read.
    """
    removal, carry, checkpoints = known
    states: Array = device.xp.empty(call.states, call.variant.real)
    arrays = [*(x[name] for name in WRITES), removal.keys, removal.removed]
    out = [carry, checkpoints, states, apart]
    call.run_runs(device, "rwkv7_states", [*arrays, *out], call.tiles.walking(), call.value_tiles)
    return states


RWKV7_SCAN = Pair(scan, scan_backward)
