"""Sliding-window linear attention in fast kernels: a decayed memory of the tokens before.

What a token finds, P_t, has the token before it written once, with both of its strengths:

    P_t = a_t P_{t-1} + (a_t beta_{t-1} + beta_prev_t) k_{t-1} v_{t-1}^T
    S_t = P_t + beta_t k_t v_t^T               y_t = P_t^T q_t + beta_t (k_t . q_t) v_t

P is scanned as a decayed memory whose inputs are shifted by one token. Where a memory starts there
is nothing before; a memory that comes in is S, which has its last token already.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu import read as _read
from mcore.backends.numba_cpu import scan as _scan
from mcore.backends.numba_cpu.borders import at_ends, from_ends, restarts
from mcore.backends.numba_cpu.read import UNDIVIDED
from mcore.recurrence import Inputs
from mcore.recurrence.matrix import outer, times, transposed_times
from mcore.recurrence.swla import joined, parts
from mcore.segments import Segments


class Before(NamedTuple):
    """Of the token before each token, 0 where there is none: k, v, and beta if not yet written."""

    k: Array
    v: Array
    beta: Array


class SwlaSaved(NamedTuple):
    """What `scan` keeps: inputs, the tokens before, decay and strength of these; the scan's own."""

    x: Inputs
    before: Before
    decay: Array
    strength: Array
    scan: Any
    segments: Segments
    carried: bool


def scan(
    inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Scan, SwlaSaved]:
    """See `mcore.backend.Backend.scan`."""
    q, k, v, beta = (inputs[name] for name in ("q", "k", "v", "beta"))
    matrix, before = _before(inputs, carry, segments)
    decay = np.exp(inputs["log_decay"])
    strength = decay * before.beta + inputs["beta_prev"]
    shifted = {
        "q": q, "k": before.k, "v": strength[..., None] * before.v,
        "log_decay": inputs["log_decay"],
    }  # fmt: skip
    found, saved = _scan.scan(UNDIVIDED, shifted, matrix, segments, threads)
    reads = found.reads + (beta * _dot(q, k))[..., None] * v
    last_k, last_v = at_ends(k, segments), at_ends(v, segments)
    states = found.checkpoints.reshape(*last_k.shape, -1)
    states = states + outer(at_ends(beta, segments)[..., None] * last_k, last_v)
    checkpoints = _scan.flattened(joined(states, last_k, last_v))
    kept = SwlaSaved(inputs, before, decay, strength, saved, segments, carry is not None)
    return Scan(reads, checkpoints), kept


def scan_backward(
    saved: SwlaSaved, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    keys = saved.x["k"].shape[-1]
    d_ends = parts(_scan.unflattened(d_checkpoints, keys + 1))
    flat = _scan.flattened(d_ends[0])
    d_shifted, d_matrix = _scan.scan_backward(saved.scan, d_reads, flat, threads)
    d_inputs = _written_backward(saved, d_reads, d_ends)
    d_inputs["q"] += d_shifted["q"]
    d_strength = _dot(d_shifted["v"], saved.before.v)
    d_decay = d_strength * saved.decay
    d_inputs["log_decay"] = d_shifted["log_decay"] + d_decay * saved.before.beta
    d_inputs["beta_prev"] = d_strength
    d_before = Before(d_shifted["k"], saved.strength[..., None] * d_shifted["v"], d_decay)
    first = _before_backward(d_before, d_inputs, saved.segments)
    if d_matrix is None or not saved.carried:
        return d_inputs, None
    d_carry = joined(d_matrix.reshape(*d_matrix.shape[:2], keys, -1), *first)
    return d_inputs, d_carry.reshape(*d_carry.shape[:2], -1)


def read(
    q: Array, checkpoints: Array, gates: Array | None, segments: Segments, threads: int
) -> tuple[Array, Any]:
    """See `mcore.backend.Backend.read`."""
    states = parts(_scan.unflattened(checkpoints, q.shape[-1] + 1))
    return _read.linear_read(q, _scan.flattened(states[0]), gates, segments, threads)


def read_backward(saved: Any, dy: Array, threads: int) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    dq, d_states, d_gates = _read.read_backward(saved, dy, threads)
    d_matrix = d_states.reshape(saved.x.states.shape)
    zero = dy.dtype.type(0)
    return dq, _scan.flattened(joined(d_matrix, zero, zero)), d_gates


def _before(inputs: Inputs, carry: Array | None, segments: Segments) -> tuple[Array | None, Before]:
    """The memory that comes in, if any, and the tokens before."""
    k, v, beta = inputs["k"], inputs["v"], inputs["beta"]
    before = Before(*(np.zeros_like(x) for x in (k, v, beta)))
    for target, source in zip(before, (k, v, beta), strict=True):
        target[:, 1:] = source[:, :-1]
    matrix = None
    if carry is not None:
        states = _scan.unflattened(carry, k.shape[-1] + 1)
        matrix, before.k[:, 0], before.v[:, 0] = parts(states)
        matrix = matrix.reshape(*carry.shape[:2], -1)
    fresh = restarts(segments)
    for x in before:
        x[fresh] = 0
    return matrix, before


def _before_backward(
    d_before: Before, d_inputs: dict[str, Array], segments: Segments
) -> tuple[Array, Array]:
    """Adds to the gradients of k, v, beta; returns those of the state's last k and v."""
    fresh = restarts(segments)
    for name, dx in d_before._asdict().items():
        shape = (*fresh.shape, *(1,) * (dx.ndim - 2))
        d_inputs[name][:, :-1] += np.where(fresh.reshape(shape), 0, dx)[:, 1:]
    gone = fresh[:, 0, None, None]
    return np.where(gone, 0, d_before.k[:, 0]), np.where(gone, 0, d_before.v[:, 0])


def _written_backward(
    saved: SwlaSaved, dy: Array, d_ends: tuple[Array, Array, Array]
) -> dict[str, Array]:
    """What the token's own write gives to q, k, v and beta: in its answer, and at borders."""
    q, k, v, beta = (saved.x[name] for name in ("q", "k", "v", "beta"))
    d_matrix, d_k, d_v = d_ends
    last_k, last_v = at_ends(k, saved.segments), at_ends(v, saved.segments)
    last_beta = at_ends(beta, saved.segments)[..., None]
    written = times(d_matrix, last_v)
    d_v = d_v + last_beta * transposed_times(d_matrix, last_k)
    match, d_match = _dot(q, k), _dot(dy, v)
    weight = (beta * d_match)[..., None]
    ends = (d_k + last_beta * written, d_v, _dot(last_k, written))
    end_k, end_v, end_beta = (from_ends(x, saved.segments) for x in ends)
    return {
        "q": weight * k,
        "k": weight * q + end_k,
        "v": (beta * match)[..., None] * dy + end_v,
        "beta": match * d_match + end_beta,
    }


def _dot(a: Array, b: Array) -> Array:
    product: Array = np.einsum("...i,...i->...", a, b)
    return product
