"""Cached reads and soup of a matrix LSTM in fast kernels.

read    y = sum_i g_i C_i^T q / (max(|n_i . q|, e^-m_i) + eps): a plain read with gates divided
soup    w_i = g_i e^(m_i - m*), m* = max m_i: numerators and denominators are mixed, then divided;
        the mixed denominator is found first, and all weights divided by it
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu import mlstm as _scan
from mcore.backends.numba_cpu import quotient as _quotient
from mcore.backends.numba_cpu import read as _read
from mcore.backends.numba_cpu.mlstm import States, joined, parts
from mcore.backends.numba_cpu.scan import flattened
from mcore.recurrence import Inputs
from mcore.recurrence.mlstm import floor
from mcore.segments import Segments


class ReadSaved(NamedTuple):
    """What `read` keeps: of the plain read and the division; floors (B, C, H)."""

    read: Any
    quotient: Any
    floors: Array


def read(
    q: Array, checkpoints: Array, gates: Array | None, segments: Segments, threads: int
) -> tuple[Array, ReadSaved]:
    """See `mcore.backend.Backend.read`."""
    body, normalizer, m = parts(checkpoints, q.shape[-1])
    floors = floor(m)[..., 0]
    weights, kept = _quotient.weights(q, (normalizer, floors), gates, segments, threads)
    y, saved = _read.linear_read(q, flattened(body), weights, segments, threads)
    return y, ReadSaved(saved, kept, floors)


def read_backward(saved: ReadSaved, dy: Array, threads: int) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    dq, d_bodies, d_weights = _read.read_backward(saved.read, dy, threads)
    assert d_weights is not None
    found = _quotient.weights_backward(saved.quotient, d_weights, dq, threads)
    d_normalizer, d_gates, d_floors = found
    body = d_bodies.reshape(*d_normalizer.shape, -1)
    return dq, joined(States(body, d_normalizer, -saved.floors * d_floors)), d_gates


class SoupSaved(NamedTuple):
    """What `soup` keeps.

    Attributes:
        scan: of the weighed scan.
        reads: of the cached reads of C and of n; None without checkpoints.
        last, largest, divisor: (B, T, H) mixed denominator, m*, and one over what is divided by.
        gates, shares, first: (B, T, H, C + 1).
        checkpoints: (B, C, H, P).
    """

    scan: Any
    reads: Any
    last: Array
    largest: Array
    divisor: Array
    gates: Array
    shares: Array
    first: Array
    checkpoints: Array


def soup(
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    cached: tuple[Array, Array],
    threads: int,
) -> tuple[Array, SoupSaved]:
    """See `mcore.backend.Backend.soup`."""
    checkpoints, gates = cached
    q = inputs["q"]
    body, normalizer, m = parts(checkpoints, q.shape[-1])
    opened = _scan.open_gates(inputs, carry, segments, threads)
    shares, largest, first = _shares(m, opened[1].largest, segments)
    weights = gates * shares
    last, read_n = weights[..., -1] * opened[1].last, None
    if checkpoints.shape[1]:
        found, read_n = _read.linear_read(q, normalizer, weights[..., :-1], segments, threads)
        last = last + found[..., 0]
    divisor = _scan.share(last, largest)
    weights = weights * divisor[..., None]
    online, memory = np.ascontiguousarray(weights[..., -1]), (inputs["v"], carry)
    scan, kept = _scan.weighed(opened, memory, online, segments, threads)
    y, reads = scan.reads, None
    if read_n is not None:
        bodies = flattened(body)
        seen, read_c = _read.linear_read(q, bodies, weights[..., :-1], segments, threads)
        y, reads = y + seen, (read_c, read_n)
    return y, SoupSaved(kept, reads, last, largest, divisor, gates, shares, first, checkpoints)


def soup_backward(
    saved: SoupSaved, dy: Array, threads: int
) -> tuple[dict[str, Array], Array | None, Array, Array]:
    """See `mcore.backend.Backend.soup_backward`."""
    weights, divisor, last = saved.gates * saved.shares, saved.divisor, saved.last
    ends = parts(np.zeros(_shape_of_ends(saved), dy.dtype), saved.scan.gates.k.shape[-1])
    d_scan, d_online = _scan.weighed_backward(saved.scan, dy, ends.body, threads)
    d_weights = np.zeros_like(weights)
    d_weights[..., -1] = d_online
    dq, d_bodies = None, None
    if saved.reads is not None:
        dq, d_bodies, d_weights[..., :-1] = _read.read_backward(saved.reads[0], dy, threads)
    d_divisor = np.einsum("bthc,bthc->bth", d_weights, weights)
    d_last, d_largest = _scan.share_backward(last, saved.largest, divisor, d_divisor)
    d_weights *= divisor[..., None]
    d_weights[..., -1] += d_last * saved.scan.gated.last
    d_normalizer = None
    if saved.reads is not None:
        found = _read.read_backward(saved.reads[1], d_last[..., None], threads)
        dq, d_normalizer = dq + found[0], found[1]
        d_weights[..., :-1] += found[2]
    d_maxima = weights * d_weights
    d_maxima += saved.first * (d_largest - d_maxima.sum(axis=-1))[..., None]
    given = (weights[..., -1] * d_last, d_maxima[..., -1], ends.normalizer)
    d_inputs, d_carry = _scan.open_gates_backward(saved.scan, d_scan, given, threads)
    d_checkpoints = np.zeros_like(saved.checkpoints)
    if d_bodies is not None and d_normalizer is not None:
        d_inputs["q"] = d_inputs["q"] + dq
        d_m = d_maxima[..., :-1].sum(axis=1).swapaxes(1, 2)
        body = d_bodies.reshape(*d_normalizer.shape, -1)
        d_checkpoints = joined(States(body, d_normalizer, d_m))
    return d_inputs, d_carry, d_checkpoints, d_weights * saved.shares


def _shape_of_ends(saved: SoupSaved) -> tuple[int, ...]:
    rows, _, heads, size = saved.checkpoints.shape
    return rows, saved.scan.segments.count, heads, size


def _shares(m: Array, online: Array, segments: Segments) -> tuple[Array, Array, Array]:
    """`exp(m_i - m*)` (B, T, H, C + 1), 0 where not visible; m* (B, T, H); where m_i is m*."""
    hidden = online.dtype.type(-np.inf)
    cached = np.where(segments.visible[:, :, None], m.swapaxes(1, 2)[:, None], hidden)
    maxima = np.concatenate([cached, online[..., None]], axis=-1)
    first = np.arange(maxima.shape[-1]) == maxima.argmax(axis=-1)[..., None]
    largest = maxima.max(axis=-1)
    return np.exp(maxima - largest[..., None]), largest, first
