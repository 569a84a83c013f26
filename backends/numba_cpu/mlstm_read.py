"""Cached reads and soup of a matrix LSTM in fast kernels.

read    y = sum_i g_i C_i^T q / (max(|n_i . q|, e^-m_i) + eps)
soup    w_i = g_i e^(m_i - m*), m* = max m_i: numerators and denominators are mixed, then divided
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu import mlstm as _scan
from mcore.backends.numba_cpu import read as _read
from mcore.backends.numba_cpu.scan import flattened, unflattened
from mcore.recurrence import Inputs
from mcore.recurrence.mlstm import divide, divide_backward, floor, joined, parts
from mcore.segments import Segments


def read(
    q: Array, checkpoints: Array, gates: Array | None, segments: Segments, threads: int
) -> tuple[Array, Any]:
    """See `mcore.backend.Backend.read`."""
    bodies, m = _split(checkpoints, q.shape[-1])
    floors = floor(m)[..., 0]
    y, saved = _read.divided_read(q, (bodies, floors), gates, segments, threads)
    return y, (saved, floors, q.shape[-1])


def read_backward(saved: Any, dy: Array, threads: int) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    kept, floors, keys = saved
    dq, d_bodies, d_gates, d_floors = _read.divided_read_backward(kept, dy, threads)
    return dq, _join(d_bodies, -floors * d_floors, keys), d_gates


class SoupSaved(NamedTuple):
    """What `soup` keeps: of scan and read; found, mixed answers; shares, first (B, T, H, C + 1)."""

    scan: Any
    read: Any
    online: Array
    answers: Array
    largest: Array
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
    found, scan_saved = _scan.undivided(inputs, carry, segments, threads)
    bodies, m = _split(checkpoints, inputs["q"].shape[-1])
    shares, largest, first = _shares(m, found.largest, segments)
    weights = gates * shares
    answers, read_saved = weights[..., -1:] * found.answers, None
    if checkpoints.shape[1]:
        given = weights[..., :-1]
        seen, read_saved = _read.linear_read(inputs["q"], bodies, given, segments, threads)
        answers = answers + seen
    saved = SoupSaved(
        scan_saved, read_saved, found.answers, answers, largest, gates, shares, first, checkpoints
    )
    return divide(answers, largest), saved


def soup_backward(
    saved: SoupSaved, dy: Array, threads: int
) -> tuple[dict[str, Array], Array | None, Array, Array]:
    """See `mcore.backend.Backend.soup_backward`."""
    weights = saved.gates * saved.shares
    d_answers, d_largest = divide_backward(saved.answers, saved.largest, dy)
    d_weights = np.zeros_like(weights)
    d_weights[..., -1] = np.einsum("bthv,bthv->bth", d_answers, saved.online)
    d_bodies, dq = None, None
    if saved.read is not None:
        dq, d_bodies, d_given = _read.read_backward(saved.read, d_answers, threads)
        d_weights[..., :-1] = d_given
    d_maxima = weights * d_weights
    d_rest = d_largest - d_maxima.sum(axis=-1)
    d_maxima += saved.first * d_rest[..., None]
    ends = np.zeros(_shape_of_ends(saved), dy.dtype)
    d_inputs, d_carry = _scan.undivided_backward(
        saved.scan, weights[..., -1:] * d_answers, d_maxima[..., -1], ends
    )
    d_checkpoints = np.zeros_like(saved.checkpoints)
    if dq is not None and d_bodies is not None:
        d_inputs["q"] = d_inputs["q"] + dq
        d_m = d_maxima[..., :-1].sum(axis=1).swapaxes(1, 2)
        d_checkpoints = _join(d_bodies, d_m, saved.scan.k.shape[-1])
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


def _split(checkpoints: Array, keys: int) -> tuple[Array, Array]:
    """C with n (B, C, H, K (V + 1)) and m (B, C, H)."""
    bodies, m = parts(unflattened(checkpoints, keys + 1))
    return flattened(bodies), m


def _join(bodies: Array, m: Array, keys: int) -> Array:
    """The inverse of `_split`."""
    whole = joined(unflattened(bodies, keys), m)
    return flattened(whole)
