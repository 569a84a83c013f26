"""Reference `read`: every visible checkpoint is asked, its answer weighted by the gate.

y_t = sum_i gates_t,i read(M_i, q_t)
"""

from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.recurrence import Recurrence
from mcore.segments import Segments


def read(
    rule: Recurrence, q: Array, checkpoints: Array, gates: Array | None, segments: Segments
) -> tuple[Array, Any]:
    """See `mcore.backend.Backend.read`."""
    weights = _weights(checkpoints, gates, segments)
    states = rule.unflatten(checkpoints, q.shape[-1])
    answers = [rule.read(_of_tokens(states, i), q) for i in range(checkpoints.shape[1])]
    y = np.einsum("bthi,ibthv->bthv", weights, np.stack(answers))
    return y, (rule, q, checkpoints, gates, segments)


def read_backward(saved: Any, dy: Array) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    rule, q, checkpoints, gates, segments = saved
    weights = _weights(checkpoints, gates, segments)
    states = rule.unflatten(checkpoints, q.shape[-1])
    dq, d_states, d_weights = np.zeros_like(q), np.zeros_like(states), np.zeros_like(weights)
    for i in range(checkpoints.shape[1]):
        state, weight = _of_tokens(states, i), weights[..., i, None]
        d_weights[..., i] = (rule.read(state, q) * dy).sum(axis=-1)
        d_state, d_query = rule.read_backward(state, q, weight * dy)
        dq += d_query
        d_states[:, i] = d_state.sum(axis=1)
    seen = segments.visible[:, :, None]
    d_gates = None if gates is None else np.where(seen, d_weights, 0)
    return dq, d_states.reshape(checkpoints.shape), d_gates


def _of_tokens(states: Array, i: int) -> Array:
    """Checkpoint i, to broadcast over tokens: (B, 1, H, *state_shape)."""
    return states[:, i][:, None]


def _weights(checkpoints: Array, gates: Array | None, segments: Segments) -> Array:
    """Gates with zeros where nothing may be seen."""
    seen = segments.visible[:, :, None]
    if gates is None:
        shape = (*seen.shape[:2], checkpoints.shape[2], seen.shape[-1])
        return np.broadcast_to(seen, shape).astype(checkpoints.dtype)
    return np.where(seen, gates, 0)
