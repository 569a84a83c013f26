"""How the online memory's answers and the checkpoints become the output: one pair per readout form.

All forms compute `y_t = g_t,online o_t + sum_i g_t,i M_i(q_t)` (soup: mix first, then read). They
differ in how cheaply: constant gates mix the checkpoints of a linear memory once per segment.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Backend, Routes
from mcore.readout import Readout
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Pool
from mcore.segments import Segments


@dataclass(frozen=True)
class Scene:
    """What a readout works on: prepared inputs, online answers and all visible checkpoints."""

    backend: Backend
    rule: Recurrence
    readout: Readout
    inputs: Inputs
    carry: Array | None
    segments: Segments
    reads: Array
    checkpoints: Array
    pool: Pool


class SceneGradient(NamedTuple):
    """Gradients with respect to a scene's inputs, carry, reads, checkpoints and pool."""

    inputs: dict[str, Array]
    carry: Array | None
    reads: Array
    checkpoints: Array
    pool: Pool | None


Output = tuple[Array, Routes | None]
"""y (B, T, H, V), and what routing found."""


def answer(scene: Scene) -> tuple[Output, Any]:
    """The output of the readout, by the cheapest exact form."""
    if not scene.readout.reads_cache:
        return (scene.reads, None), ("online", None)
    if scene.readout.router is not None:
        return _routed(scene)
    if scene.rule.linear_read:
        y, saved = _mixed(scene)
    else:
        y, saved = _gated(scene, _per_token(scene))
    return (y, None), ("mixed" if scene.rule.linear_read else "constant", saved)


def answer_backward(scene: Scene, saved: Any, dy: Array, d_contexts: Array) -> SceneGradient:
    """Gradient of `answer`; `d_contexts` (B, S, H, K) is that of the routes' contexts."""
    form, kept = saved
    if form == "online":
        return SceneGradient({}, None, dy, np.zeros_like(scene.checkpoints), None)
    if form == "mixed":
        return _mixed_backward(scene, kept, dy)
    if form == "constant":
        return _gated_backward(scene, kept, dy)[0]
    return _routed_backward(scene, kept, dy, d_contexts)


def _mixed(scene: Scene) -> tuple[Array, Any]:
    """Constant gates over a linear read: `sum_i g_i M_i` once per segment, then one read."""
    segments, rule = scene.segments, scene.rule
    gates = scene.readout.constant_gates(segments).astype(scene.reads.dtype)
    online = _of_tokens(gates[..., -1], segments)[..., None, None]
    y, read = online * scene.reads, None
    if segments.columns:
        flat = scene.checkpoints.reshape(*scene.checkpoints.shape[:2], -1)
        mixed = (gates[..., :-1] @ flat).reshape(*gates.shape[:2], *scene.checkpoints.shape[2:])
        cached, read = scene.backend.read(rule, scene.inputs["q"], mixed, None, segments.own())
        y = y + cached
    return y, (gates, online, read)


def _mixed_backward(scene: Scene, saved: Any, dy: Array) -> SceneGradient:
    gates, online, read = saved
    if read is None:
        return SceneGradient({}, None, online * dy, np.zeros_like(scene.checkpoints), None)
    dq, d_mixed, _ = scene.backend.read_backward(read, dy)
    flat = d_mixed.reshape(*d_mixed.shape[:2], -1)
    d_checkpoints = (gates[..., :-1].swapaxes(1, 2) @ flat).reshape(scene.checkpoints.shape)
    return SceneGradient({"q": dq}, None, online * dy, d_checkpoints, None)


def _gated(scene: Scene, gates: Array) -> tuple[Array, Any]:
    """`g_online o + sum_i g_i read(M_i, q)` with gates per token."""
    y, read = gates[..., -1:] * scene.reads, None
    if scene.segments.columns:
        q, cached = scene.inputs["q"], scene.checkpoints
        seen, read = scene.backend.read(scene.rule, q, cached, gates[..., :-1], scene.segments)
        y = y + seen
    return y, (gates, read)


def _gated_backward(scene: Scene, saved: Any, dy: Array) -> tuple[SceneGradient, Array]:
    gates, read = saved
    d_gates = np.zeros_like(gates)
    d_gates[..., -1] = np.einsum("bthv,bthv->bth", dy, scene.reads)
    d_reads, d_checkpoints = gates[..., -1:] * dy, np.zeros_like(scene.checkpoints)
    if read is None:
        return SceneGradient({}, None, d_reads, d_checkpoints, None), d_gates
    dq, d_checkpoints, d_gates[..., :-1] = scene.backend.read_backward(read, dy)
    return SceneGradient({"q": dq}, None, d_reads, d_checkpoints, None), d_gates


def _routed(scene: Scene) -> tuple[Output, Any]:
    router = scene.readout.router
    assert router is not None
    u, keys = scene.inputs["u"], scene.inputs["k"]
    routes, route = scene.backend.route(u, keys, scene.segments, router, scene.pool)
    if scene.readout.mixes_states and not scene.rule.linear_read:
        cached = (scene.checkpoints, routes.gates)
        y, soup = scene.backend.soup(scene.rule, scene.inputs, scene.carry, scene.segments, cached)
        return (y, routes), ("routed", (route, "soup", soup))
    y, gated = _gated(scene, routes.gates)
    return (y, routes), ("routed", (route, "gated", gated))


def _routed_backward(scene: Scene, saved: Any, dy: Array, d_contexts: Array) -> SceneGradient:
    route, form, kept = saved
    if form == "soup":
        d_inputs, d_carry, d_checkpoints, d_gates = scene.backend.soup_backward(kept, dy)
        d_reads = np.zeros_like(scene.reads)
    else:
        gated, d_gates = _gated_backward(scene, kept, dy)
        d_inputs, d_carry, d_reads, d_checkpoints, _ = gated
    du, dk, d_pool = scene.backend.route_backward(route, d_gates, d_contexts)
    d_inputs = add_gradients(d_inputs, {"u": du, "k": dk})
    return SceneGradient(d_inputs, d_carry, d_reads, d_checkpoints, d_pool)


def _of_tokens(per_segment: Array, segments: Segments) -> Array:
    """(B, S, ...) to (B, T, ...): each token gets its segment's entry."""
    picked: Array = per_segment[np.arange(segments.rows)[:, None], segments.index]
    return picked


def _per_token(scene: Scene) -> Array:
    gates = scene.readout.constant_gates(scene.segments).astype(scene.reads.dtype)
    per_token = _of_tokens(gates, scene.segments)[:, :, None]
    shape = (*scene.reads.shape[:3], per_token.shape[-1])
    return np.ascontiguousarray(np.broadcast_to(per_token, shape))


def add_gradients(first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
    """Entry-wise sum of two gradient dicts; an entry may be missing in either."""
    total = dict(first)
    for name, gradient in second.items():
        total[name] = total[name] + gradient if name in total else gradient
    return total


def add_optional(first: Array | None, second: Array | None) -> Array | None:
    """Sum of two gradients, either of which may be missing."""
    if first is None or second is None:
        return second if first is None else first
    return first + second
