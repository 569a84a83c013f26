"""`read` of vector memories: the weighted sum of the cached h, one matrix product per row and head.

y_t = sum_i gates_t,i h_i
"""

from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.recurrence import Recurrence
from mcore.segments import Segments


class VectorReadSaved(NamedTuple):
    """What `read` keeps: the rule, queries, checkpoints, and weights (B, H, T, C), if gates."""

    rule: Recurrence
    q: Array
    checkpoints: Array
    weights: Array
    gated: bool


def read(
    rule: Recurrence, q: Array, checkpoints: Array, gates: Array | None, segments: Segments
) -> tuple[Array, VectorReadSaved]:
    """See `mcore.backend.Backend.read`."""
    seen = segments.visible[:, None]
    shape = (q.shape[0], q.shape[2], *seen.shape[2:])
    given = np.ones(shape, q.dtype) if gates is None else gates.swapaxes(1, 2)
    weights = np.ascontiguousarray(np.where(seen, given, 0))
    saved = VectorReadSaved(rule, q, checkpoints, weights, gates is not None)
    return np.ascontiguousarray((weights @ _cached(saved)).swapaxes(1, 2)), saved


def read_backward(saved: VectorReadSaved, dy: Array) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    d_answers = np.ascontiguousarray(dy.swapaxes(1, 2))
    d_checkpoints = np.zeros_like(saved.checkpoints)
    d_cached = saved.weights.swapaxes(-1, -2) @ d_answers
    saved.rule.unflatten(d_checkpoints, 0)[..., 0, :] = d_cached.swapaxes(1, 2)
    dq = np.zeros_like(saved.q)
    if not saved.gated:
        return dq, d_checkpoints, None
    d_gates = np.where(saved.weights != 0, d_answers @ _cached(saved).swapaxes(-1, -2), 0)
    return dq, d_checkpoints, np.ascontiguousarray(d_gates.swapaxes(1, 2))


def _cached(saved: VectorReadSaved) -> Array:
    """(B, H, C, V) the cached h."""
    states = saved.rule.unflatten(saved.checkpoints, 0)
    return np.ascontiguousarray(states[..., 0, :].swapaxes(1, 2))
