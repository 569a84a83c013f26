"""Reference `soup`: for every token the visible memories are mixed, then the mixture is read.

y_t = read(g_t,online S_t + sum_i g_t,i M_i, q_t)      (Behrouz et al. 2026, Eq. 14-15)

A rule may mix otherwise than by this sum: `Recurrence.mix`.
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
        rule.read(rule.mix(*_seen(states, checkpoints, cached[1], segments, t)), inputs["q"][:, t])
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
        seen = _seen(states, checkpoints, cached[1], segments, t)
        d_mixture, dq[:, t] = rule.read_backward(rule.mix(*seen), inputs["q"][:, t], dy[:, t])
        mixed, d_of_gates = rule.mix_backward(*seen, d_mixture)
        d_states[t + 1] += mixed[-1]
        d_gates[:, t] = d_of_gates.swapaxes(1, 2)
        for i, d_checkpoint in enumerate(mixed[:-1]):
            d_checkpoints[:, i] += d_checkpoint
    d_inputs, d_carry = walk_back((rule, inputs, carry, segments), states, d_states)
    d_inputs["q"] = dq
    d_gates[..., :-1] *= segments.visible[:, :, None]
    return d_inputs, d_carry, d_checkpoints.reshape(cached[0].shape), d_gates


def _seen(
    states: list[Array], checkpoints: Array, gates: Array, segments: Segments, t: int
) -> tuple[list[Array], Array, Array]:
    """All memories of token t, the online one last; their gates (B, C + 1, H); which it sees."""
    memories = [*checkpoints.swapaxes(0, 1), states[t + 1]]
    online = np.ones((segments.rows, 1), bool)
    visible = np.concatenate([segments.visible[:, t], online], axis=1)
    return memories, gates[:, t].swapaxes(1, 2), visible
