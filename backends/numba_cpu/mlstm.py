"""Matrix LSTM in fast kernels: a decayed memory whose gates come from the running maximum.

Its denominators max(|n_t . q_t|, e^-m_t) + eps need no values, so they are found before the scan:
that of a decayed memory, with queries divided by them (see `mlstm_kernels`).
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu import scan as _scan
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.borders import at_ends, from_ends
from mcore.backends.numba_cpu.read import UNDIVIDED
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs
from mcore.recurrence.mlstm import EPS, LARGEST, floor
from mcore.segments import Segments


class Weighed(NamedTuple):
    """What a weighed scan keeps; carried: whether a state came in."""

    gates: Any
    gated: Any
    weights: Array
    scan: Any
    segments: Segments
    carried: bool


class States(NamedTuple):
    """Of memories: C (..., K, V), n (..., K), m (...)."""

    body: Array
    normalizer: Array
    largest: Array


def scan(inputs: Inputs, carry: Array | None, segments: Segments, threads: int) -> tuple[Scan, Any]:
    """See `mcore.backend.Backend.scan`."""
    gates, gated = open_gates(inputs, carry, segments, threads)
    shares = share(gated.last, gated.largest)
    found, saved = weighed((gates, gated), (inputs["v"], carry), shares, segments, threads)
    ends = States(
        found.checkpoints.reshape(*gated.normalizers.shape, -1),
        gated.normalizers,
        at_ends(gated.largest, segments),
    )
    return Scan(found.reads, joined(ends)), saved


def scan_backward(
    saved: Weighed, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    d_ends = parts(d_checkpoints, saved.gates.k.shape[-1])
    d_scan, d_weights = weighed_backward(saved, d_reads, d_ends.body, threads)
    last, largest = saved.gated.last, saved.gated.largest
    d_last, d_largest = share_backward(last, largest, saved.weights, d_weights)
    d_largest += from_ends(d_ends.largest, saved.segments)
    given = (d_last, d_largest, d_ends.normalizer)
    return open_gates_backward(saved, d_scan, given, threads)


def open_gates(
    inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Any, Any]:
    """`GateInputs` and `Gated` of `mlstm_kernels`."""
    from mcore.backends.numba_cpu.mlstm_kernels import Gated, GateInputs, gate_work, gates_kernel

    q = plain(inputs["q"])
    rows, tokens, heads, keys = q.shape
    largest, normalizer = np.zeros((rows, heads), q.dtype), np.zeros((rows, heads, keys), q.dtype)
    if carry is not None:
        _, normalizer, largest = parts(carry, keys)
    x = GateInputs(
        plain(inputs["igate"], q), plain(inputs["fgate"], q), q, plain(inputs["k"], q),
        plain(largest, q), plain(normalizer, q), plain(segments.bounds), plain(segments.restart),
    )  # fmt: skip
    forget, m, last = (np.empty((rows, tokens, heads), q.dtype) for _ in range(3))
    ends = np.zeros((rows, segments.count, heads, keys), q.dtype)
    gated = Gated(forget, m, last, np.empty_like(q), ends)
    run(gates_kernel, Tasks(rows * heads, threads), x, gate_work, gated)
    return x, gated


def weighed(
    opened: tuple[Any, Any],
    memory: tuple[Array, Array | None],
    weights: Array,
    segments: Segments,
    threads: int,
) -> tuple[Scan, Weighed]:
    """The scan of C with `weights * q`; memory: v, and the state that comes in."""
    gates, gated = opened
    v, carry = memory
    body = None
    if carry is not None:
        body = _scan.flattened(parts(carry, gates.k.shape[-1]).body)
    decayed = {"q": weights[..., None] * gates.q, "k": gated.key, "v": v, "log_decay": gated.forget}
    found, kept = _scan.scan(UNDIVIDED, decayed, body, segments, threads)
    return found, Weighed(gates, gated, weights, kept, segments, carry is not None)


def weighed_backward(
    saved: Weighed, d_reads: Array, d_bodies: Array, threads: int
) -> tuple[tuple[dict[str, Array], Array | None], Array]:
    """Gradients of the scan, for `open_gates_backward`, and of the weights."""
    d_scan = _scan.scan_backward(saved.scan, d_reads, _scan.flattened(d_bodies), threads)
    return d_scan, np.einsum("bthk,bthk->bth", d_scan[0]["q"], saved.gates.q)


def open_gates_backward(
    saved: Weighed,
    d_scan: tuple[dict[str, Array], Array | None],
    given: tuple[Array, Array, Array],
    threads: int,
) -> tuple[dict[str, Array], Array | None]:
    """Gradients of all inputs and of the state that came in; given: of last, m and n's ends."""
    from mcore.backends.numba_cpu.mlstm_backward_kernels import (
        GateGiven,
        GateGradients,
        gate_backward_work,
        gates_backward_kernel,
    )

    x, gated = saved.gates, saved.gated
    d_inputs, d_body = d_scan
    d_last, d_largest, d_ends = (plain(d, x.q) for d in given)
    out = GateGradients(
        np.empty_like(x.igate), np.empty_like(x.fgate), d_inputs["q"], d_inputs["k"],
        np.empty_like(x.largest), np.empty_like(x.normalizer),
    )  # fmt: skip
    weights = plain(saved.weights, x.q)
    d = GateGiven(gated, weights, d_inputs["log_decay"], d_largest, d_last, d_ends)
    tasks = Tasks(x.q.shape[0] * x.q.shape[2], threads)
    run(gates_backward_kernel, tasks, x, gate_backward_work, d, out)
    gradients = {name: getattr(out, name) for name in ("q", "k", "igate", "fgate")}
    gradients["v"] = d_inputs["v"]
    if d_body is None or not saved.carried:
        return gradients, None
    states = States(d_body.reshape(*out.normalizer.shape, -1), out.normalizer, out.largest)
    return gradients, joined(states)


def share(last: Array, m: Array) -> Array:
    """`1 / (max(|last|, e^-m) + eps)`."""
    shares: Array = 1 / (np.maximum(abs(last), floor(m)[..., 0]) + last.dtype.type(EPS))
    return shares


def share_backward(last: Array, m: Array, shares: Array, d_shares: Array) -> tuple[Array, Array]:
    """Gradients of `share`: with respect to last and to m."""
    least, d_scale = floor(m)[..., 0], -d_shares * shares * shares
    floored = abs(last) <= least
    d_last = np.where(floored, 0, np.sign(last) * d_scale)
    return d_last, np.where(floored & (m > -LARGEST), -least * d_scale, 0)


def parts(flat: Array, keys: int) -> States:
    """(..., P) to C, n and m."""
    state = _scan.unflattened(flat, keys + 1)
    return States(state[..., :-1, :-1], state[..., :-1, -1], state[..., -1, 0])


def joined(states: States) -> Array:
    """The inverse of `parts`."""
    *lead, keys, values = states.body.shape
    state = np.empty((*lead, keys + 1, values + 1), states.body.dtype)
    state[..., :-1, :-1], state[..., :-1, -1], state[..., -1, 0] = states
    state[..., -1, 1:] = 0
    return _scan.flattened(state)
