"""Reference `soup`: for every token the visible memories are mixed, then the mixture is read.

y_t = read(g_t,online S_t + sum_i g_t,i M_i, q_t)      (Behrouz et al. 2026, Eq. 14-15)
"""

from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backends.numpy_ref.scan import trajectory, walk_back
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments


def soup(
    rule: Recurrence,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    cached: tuple[Array, Array],
) -> tuple[Array, Any]:
    """See `mcore.backend.Backend.soup`."""
    states = trajectory(rule, inputs, carry, segments)
    checkpoints = rule.unflatten(cached[0], inputs["q"].shape[-1])
    answers = [
        rule.read(_mixture(states[t + 1], checkpoints, _gates(cached[1], t)), inputs["q"][:, t])
        for t in range(segments.tokens)
    ]
    return np.stack(answers, axis=1), (rule, inputs, carry, segments, cached)


def soup_backward(saved: Any, dy: Array) -> tuple[dict[str, Array], Array | None, Array, Array]:
    """See `mcore.backend.Backend.soup_backward`."""
    rule, inputs, carry, segments, cached = saved
    states = trajectory(rule, inputs, carry, segments)
    checkpoints = rule.unflatten(cached[0], inputs["q"].shape[-1])
    d_states = [np.zeros_like(state) for state in states]
    dq, d_gates = np.zeros_like(inputs["q"]), np.zeros_like(cached[1])
    d_checkpoints = np.zeros_like(checkpoints)
    for t in range(segments.tokens):
        gates = _gates(cached[1], t)
        mixture = _mixture(states[t + 1], checkpoints, gates)
        d_mixture, dq[:, t] = rule.read_backward(mixture, inputs["q"][:, t], dy[:, t])
        d_states[t + 1] += _spread(gates[:, -1], d_mixture) * d_mixture
        d_gates[:, t, :, -1] = _dot(d_mixture, states[t + 1])
        for i in range(checkpoints.shape[1]):
            d_checkpoints[:, i] += _spread(gates[:, i], d_mixture) * d_mixture
            d_gates[:, t, :, i] = _dot(d_mixture, checkpoints[:, i])
    d_inputs, d_carry = walk_back((rule, inputs, carry, segments), states, d_states)
    d_inputs["q"] = dq
    d_gates[..., :-1] *= segments.visible[:, :, None]
    return d_inputs, d_carry, d_checkpoints.reshape(cached[0].shape), d_gates


def _gates(gates: Array, t: int) -> Array:
    """(B, C + 1, H) gates of token t."""
    return gates[:, t].swapaxes(1, 2)


def _mixture(state: Array, checkpoints: Array, gates: Array) -> Array:
    mixed = _spread(gates[:, -1], state) * state
    for i in range(checkpoints.shape[1]):
        mixed = mixed + _spread(gates[:, i], state) * checkpoints[:, i]
    return mixed


def _spread(gate: Array, state: Array) -> Array:
    """(B, H) to broadcast over a state (B, H, ...)."""
    return gate.reshape(*gate.shape, *(1,) * (state.ndim - 2))


def _dot(a: Array, b: Array) -> Array:
    """Inner product per row and head."""
    product: Array = (a * b).reshape(*a.shape[:2], -1).sum(axis=-1)
    return product
