"""`scan` of matrix memories with one decay per head and token: additive ones and delta rules."""

from types import ModuleType
from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu import decayed_scan, delta_scan
from mcore.backends.cupy_gpu.decayed_scan import Tokens
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.matrix_layout import layout, state_type
from mcore.backends.cupy_gpu.normalizer import divide, divide_backward, extend
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments


class Saved(NamedTuple):
    """What `scan` keeps: the scan's own, and the undivided answers if they were divided."""

    scan: Any
    answers: Array | None


def scan(
    device: Device, rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, Saved]:
    """See `mcore.backend.Backend.scan`."""
    x = tokens(device, inputs)
    normalized = bool(getattr(rule, "normalize", False))
    if normalized:
        x = x._replace(v=extend(device, x.v))
    laid = layout(device, x.q, x.v.shape[-1], segments)
    if carry is not None:
        carry = device.xp.ascontiguousarray(carry, laid.real)
    found, saved = _family(x).scan(laid, x, carry)
    if not normalized:
        return found, Saved(saved, None)
    reads = divide(device, found.reads)
    return Scan(reads, found.checkpoints), Saved(saved, found.reads)


def scan_backward(
    device: Device, saved: Saved, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    xp, x, laid = device.xp, saved.scan.x, saved.scan.layout
    dy = xp.ascontiguousarray(d_reads, x.v.dtype)
    if saved.answers is not None:
        dy = divide_backward(device, saved.answers, dy)
    d_ends = xp.ascontiguousarray(d_checkpoints, laid.real)
    gradients, d_carry = _family(x).scan_backward(saved.scan, dy, d_ends)
    found = {name: dx for name, dx in gradients._asdict().items() if dx is not None}
    if saved.answers is not None:
        found["v"] = xp.ascontiguousarray(found["v"][..., :-1])
    return found, d_carry


def tokens(device: Device, inputs: Inputs) -> Tokens:
    """The inputs as kernels want them: contiguous, decays and strengths in the states' type."""
    xp = device.xp
    token = inputs["q"].dtype
    real = state_type(token)
    q, k, v = (xp.ascontiguousarray(inputs[name], token) for name in ("q", "k", "v"))
    log_decay, beta = (
        xp.ascontiguousarray(inputs[name], real) if name in inputs else None
        for name in ("log_decay", "beta")
    )
    return Tokens(q, k, v, log_decay, beta)


def _family(x: Tokens) -> ModuleType:
    """What writes errors if there are strengths, and values if not."""
    return decayed_scan if x.beta is None else delta_scan


SCAN = Pair(scan, scan_backward)
