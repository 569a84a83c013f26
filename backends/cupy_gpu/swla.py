"""Scan of sliding-window linear attention, a decayed memory of shifted tokens: see cuda/swla.cu."""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu import decayed_scan
from mcore.backends.cupy_gpu.cuts import Cuts, cuts_on
from mcore.backends.cupy_gpu.decayed_scan import Tokens
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.matrix_layout import THREADS, Layout, layout, state_type
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.sources import Variant
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments

TOKENS = ("q", "k", "v")
NUMBERS = ("log_decay", "beta", "beta_prev")


class Saved(NamedTuple):
    """What `scan` keeps: inputs, the memory that came in, the scan's own, and the cuts."""

    x: dict[str, Array]
    carry: Array | None
    scan: decayed_scan.Saved
    cuts: Cuts


def scan(
    device: Device, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, Saved]:
    """See `mcore.backend.Backend.scan`."""
    xp, token = device.xp, inputs["q"].dtype
    real = state_type(token)
    x = {name: xp.ascontiguousarray(inputs[name], token) for name in TOKENS}
    x |= {name: xp.ascontiguousarray(inputs[name], real) for name in NUMBERS}
    laid, cuts = layout(device, x["q"], x["v"].shape[-1], segments), cuts_on(device, segments)
    matrix = None
    if carry is not None:
        carry = xp.ascontiguousarray(carry, real)
        matrix = _matrix(laid, carry)
    shifted_k, shifted_v = xp.empty(x["k"].shape, token), xp.empty(x["v"].shape, token)
    before = (x["k"], x["v"], x["log_decay"], x["beta"], x["beta_prev"], carry)
    _launch(laid, cuts, "swla_shift", (*before, shifted_k, shifted_v))
    shifted = Tokens(x["q"], shifted_k, shifted_v, x["log_decay"], None)
    found, saved = decayed_scan.scan(laid, shifted, matrix)
    _launch(laid, cuts, "swla_answers", (*(x[n] for n in TOKENS), x["beta"], found.reads))
    ends = _ends(laid, cuts, x, found.checkpoints)
    return Scan(found.reads, ends), Saved(x, carry, saved, cuts)


def scan_backward(
    device: Device, saved: Saved, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    xp, x, laid = device.xp, saved.x, saved.scan.layout
    q, k, v, log_decay, beta, beta_prev = (x[name] for name in (*TOKENS, *NUMBERS))
    dy = xp.ascontiguousarray(d_reads, q.dtype)
    d_ends = xp.ascontiguousarray(d_checkpoints, laid.real)
    shifted, d_matrix = decayed_scan.scan_backward(saved.scan, dy, _matrix(laid, d_ends))
    d_beta, d_beta_prev = xp.empty_like(beta), xp.empty_like(beta)
    given = (q, k, v, dy, log_decay, beta)
    numbers = (saved.carry, shifted.v, d_ends, shifted.log_decay, d_beta, d_beta_prev)
    _launch(laid, saved.cuts, "swla_scalar_gradients", (*given, *numbers))
    dk, dv, d_carry = xp.empty_like(k), xp.empty_like(v), _carried(laid, d_matrix)
    arrays = (beta_prev, shifted.k, shifted.v, d_ends, shifted.q, dk, dv, d_carry)
    _launch(laid, saved.cuts, "swla_gradients", (*given, *arrays))
    d_inputs = {"q": shifted.q, "k": dk, "v": dv, "log_decay": shifted.log_decay}
    return d_inputs | {"beta": d_beta, "beta_prev": d_beta_prev}, d_carry


def _ends(laid: Layout, cuts: Cuts, x: dict[str, Array], scanned: Array) -> Array:
    """Checkpoints (B, S, H, (K + 1)(V + 1)) from those of the scan."""
    B, _, H, K, V, S = laid.shape
    ends = laid.empty(B, S, H, (K + 1) * (V + 1))
    values = (x["k"], x["v"], x["beta"], scanned, ends)
    _launch(laid, cuts, "swla_ends", values, (B * S, H, 1))
    return ends


def _matrix(laid: Layout, states: Array) -> Array:
    """(..., (K + 1)(V + 1)) to S alone (..., K V)."""
    lead, (keys, values) = states.shape[:-1], laid.shape[3:5]
    whole = states.reshape(*lead, keys + 1, values + 1)
    matrix: Array = laid.device.xp.ascontiguousarray(whole[..., :-1, :-1])
    return matrix.reshape(*lead, keys * values)


def _carried(laid: Layout, d_matrix: Array | None) -> Array | None:
    """The gradient of the memory that came in (B, H, P), its last k and v not yet filled in."""
    if d_matrix is None:
        return None
    B, _, H, K, V, _ = laid.shape
    d_carry: Array = laid.device.xp.zeros((B, H, K + 1, V + 1), laid.real)
    d_carry[..., :-1, :-1] = d_matrix.reshape(B, H, K, V)
    return d_carry.reshape(B, H, -1)


def _launch(
    laid: Layout,
    cuts: Cuts,
    name: str,
    values: tuple[Any, ...],
    grid: tuple[int, int, int] | None = None,
) -> None:
    """Run a kernel, over all tokens and heads unless a grid is given."""
    B, T, H = laid.shape[:3]
    run = laid.device.kernel(Variant("swla", laid.real, laid.token), name)
    grid = grid or (-(-B * T * H // (THREADS // 32)), 1, 1)
    tables = (cuts.bounds, cuts.restart, cuts.segment)
    run(grid, (THREADS, 1, 1), (*values, *laid.shape, *tables), 0)


SCAN = Pair(scan, scan_backward)
