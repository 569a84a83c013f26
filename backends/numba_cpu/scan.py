"""`scan` of matrix memories in fast kernels: chunkwise matrix form, row by head in parallel.

The normaliser of a normalised linear memory is one more value column, whose inputs are ones.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.normalizer import divide, divide_backward, extend
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments


class ScanSaved(NamedTuple):
    """What `scan` keeps: inputs, undivided answers (if normalised), checkpoints, if carried."""

    x: Any
    reads: Array | None
    checkpoints: Array
    carried: bool


def scan(
    rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Scan, Any]:
    """See `mcore.backend.Backend.scan`."""
    from mcore.backends.numba_cpu.scan_kernels import scan_kernel
    from mcore.backends.numba_cpu.scan_work import forward_work

    normalized = bool(getattr(rule, "normalize", False))
    x = scan_arrays(inputs, carry, segments, normalized)
    rows, tokens, heads, keys = x.q.shape
    values = x.v.shape[-1]
    reads = np.empty((rows, tokens, heads, values), x.q.dtype)
    checkpoints = np.zeros((rows, segments.count, heads, keys, values), x.q.dtype)
    run(scan_kernel, Tasks(rows * heads, threads), x, forward_work, reads, checkpoints)
    saved = ScanSaved(x, reads if normalized else None, checkpoints, carry is not None)
    return Scan(divide(reads) if normalized else reads, flattened(checkpoints)), saved


def scan_backward(
    saved: Any, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    from mcore.backends.numba_cpu.scan_backward_kernels import scan_backward_kernel
    from mcore.backends.numba_cpu.scan_work import ScanGradients, backward_work

    x, reads = saved.x, saved.reads
    gradients = ScanGradients(*(np.empty_like(array) for array in x[:6]))
    if reads is not None:
        d_reads = divide_backward(reads, d_reads)
    d_states = plain(d_checkpoints, x.q).reshape(saved.checkpoints.shape)
    given = (saved.checkpoints, plain(d_reads, x.q), d_states)
    tasks = Tasks(x.q.shape[0] * x.q.shape[2], threads)
    run(scan_backward_kernel, tasks, x, backward_work, given, gradients)
    d_values = gradients.v if reads is None else gradients.v[..., :-1]
    d_inputs = {"q": gradients.q, "k": gradients.k, "v": d_values}
    for name in ("log_decay", "beta"):
        if getattr(x, name).size:
            d_inputs[name] = getattr(gradients, name)
    if not saved.carried:
        return d_inputs, None
    return d_inputs, gradients.carry.reshape(*gradients.carry.shape[:2], -1)


def flattened(checkpoints: Array) -> Array:
    """(B, S, H, K, V) to (B, S, H, P)."""
    *lead, keys, values = checkpoints.shape
    return checkpoints.reshape(*lead, keys * values)


def unflattened(flat: Array, rows: int) -> Array:
    """(..., P) to (..., rows, P / rows)."""
    return flat.reshape(*flat.shape[:-1], rows, flat.shape[-1] // rows)


def scan_arrays(inputs: Inputs, carry: Array | None, segments: Segments, normalized: bool) -> Any:
    """What scan kernels work on: inputs as they want them, with a column of ones if normalised."""
    from mcore.backends.numba_cpu.scan_work import ScanInputs

    q = plain(inputs["q"])
    v = extend(inputs["v"]) if normalized else plain(inputs["v"], q)
    none = np.empty((0, 0, 0), q.dtype)
    rows, _, heads, keys = q.shape
    start = np.empty((0, 0, 0, 0), q.dtype)
    if carry is not None:
        start = plain(carry, q).reshape(rows, heads, keys, v.shape[-1])
    log_decay = plain(inputs["log_decay"], q) if "log_decay" in inputs else none
    beta = plain(inputs["beta"], q) if "beta" in inputs else none
    bounds, restart = plain(segments.bounds), plain(segments.restart)
    return ScanInputs(q, plain(inputs["k"], q), v, log_decay, beta, start, bounds, restart)
