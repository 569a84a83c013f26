"""Reference `scan`: the rule's one-token step, token after token.

S_t = step(S_{t-1}, x_t),  o_t = read(S_t, q_t);  at a segment's end the state is kept.
"""

from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments


def scan(
    rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> tuple[Scan, Any]:
    """Online reads and checkpoints; see `mcore.backend.Backend.scan`."""
    states = trajectory(rule, inputs, carry, segments)
    reads = np.stack(
        [rule.read(states[t + 1], inputs["q"][:, t]) for t in range(segments.tokens)], axis=1
    )
    last = states[-1].reshape(*states[-1].shape[:2], -1)
    checkpoints = np.zeros((segments.rows, segments.count, *last.shape[1:]), last.dtype)
    for b, s, end in _ends(segments):
        checkpoints[b, s] = states[end][b].reshape(last.shape[1:])
    return Scan(reads, checkpoints), (rule, inputs, carry, segments)


def scan_backward(
    saved: Any, d_reads: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """Token after token, from the last; see `mcore.backend.Backend.scan_backward`."""
    rule, inputs, carry, segments = saved
    states = trajectory(rule, inputs, carry, segments)
    d_states = [np.zeros_like(states[0]) for _ in states]
    dq = np.zeros_like(inputs["q"])
    for t in range(segments.tokens):
        d_state, dq[:, t] = rule.read_backward(states[t + 1], inputs["q"][:, t], d_reads[:, t])
        d_states[t + 1] += d_state
    for b, s, end in _ends(segments):
        d_states[end][b] += d_checkpoints[b, s].reshape(states[0].shape[1:])
    d_inputs, d_carry = walk_back(saved, states, d_states)
    d_inputs["q"] = dq
    return d_inputs, d_carry


def trajectory(
    rule: Recurrence, inputs: Inputs, carry: Array | None, segments: Segments
) -> list[Array]:
    """T + 1 states (B, H, *state_shape): what comes in, then the state after each token."""
    dims = rule.dims(inputs)
    shape = (dims.B, dims.H, *rule.state_shape(dims))
    initial = np.broadcast_to(rule.initial(inputs, dims).reshape(shape[1:]), shape)
    states = [initial if carry is None else carry.reshape(shape)]
    for t in range(dims.T):
        before = np.where(_restarts(segments, t), initial, states[-1])
        states.append(rule.step(before, token(rule, inputs, segments, t)))
    return states


def walk_back(
    saved: Any, states: list[Array], d_states: list[Array]
) -> tuple[dict[str, Array], Array | None]:
    """Back through the steps, given the gradient that enters each state from outside."""
    rule, inputs, carry, segments = saved
    dims = rule.dims(inputs)
    initial = np.broadcast_to(
        rule.initial(inputs, dims).reshape(states[0].shape[1:]), states[0].shape
    )
    d_inputs = {name: np.zeros_like(x) for name, x in inputs.items() if name in rule.inputs}
    d_initial, d_state = np.zeros_like(states[0]), d_states[-1]
    for t in reversed(range(dims.T)):
        restarts = _restarts(segments, t)
        before = np.where(restarts, initial, states[t])
        d_before, d_token = rule.step_backward(before, token(rule, inputs, segments, t), d_state)
        for name, gradient in d_token.items():
            at = slice(None) if rule.is_parameter(name) else (slice(None), t)
            d_inputs[name][at] += gradient
        d_initial = d_initial + np.where(restarts, d_before, 0)
        d_state = d_states[t] + np.where(restarts, 0, d_before)
    for name, gradient in rule.initial_backward(inputs, d_initial).items():
        d_inputs[name] += gradient
    return d_inputs, None if carry is None else d_state.reshape(carry.shape)


def token(rule: Recurrence, inputs: Inputs, segments: Segments, t: int) -> dict[str, Array]:
    """The entries of token t (B, H, ...), the parameters, its `position` (B, 1) in the segment."""
    x = {n: inputs[n] if rule.is_parameter(n) else inputs[n][:, t] for n in rule.inputs}
    return {**x, "position": segments.position[:, t, None]}


def _restarts(segments: Segments, t: int) -> Array:
    """Whether a row's memory starts afresh before token t, shaped to broadcast over states."""
    rows = np.arange(segments.rows)
    s = segments.index[:, t]
    begins = segments.bounds[rows, s] == t
    restarts: Array = begins & segments.restart[rows, s]
    return restarts[:, None, None, None]


def _ends(segments: Segments) -> list[tuple[int, int, int]]:
    """(row, segment, end) of every segment that holds a token."""
    return [
        (b, s, int(segments.bounds[b, s + 1]))
        for b in range(segments.rows)
        for s in range(segments.count)
        if segments.bounds[b, s + 1] > segments.bounds[b, s]
    ]
