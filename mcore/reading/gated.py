"""Gates given beforehand: a weighted sum of the memories' answers.

Constant gates mix the checkpoints of a linear memory once per segment, then read once.
"""

from typing import Any

import numpy as np

from mcore.arrays import Array, namespace
from mcore.picking import dots, entries
from mcore.placing import like
from mcore.reading.mixing import mixtures, mixtures_backward
from mcore.reading.scene import Scene, SceneGradient


def mixed(scene: Scene) -> tuple[Array, Any]:
    """Constant gates over a linear read: `sum_i g_i M_i` once per segment, then one read."""
    segments, rule = scene.segments, scene.rule
    gates = scene.readout.constant_gates(segments).astype(scene.reads.dtype)
    online = None if (gates[..., -1] == 1).all() else _of_tokens(gates[..., -1], scene)
    y, read = _weighed(online, scene.reads), None
    if segments.columns:
        mixture = mixtures(gates[..., :-1], scene.checkpoints)
        cached, read = scene.backend.read(rule, scene.inputs["q"], mixture, None, segments.own())
        y = y + cached
    return y, (gates, online, read)


def mixed_backward(scene: Scene, saved: Any, dy: Array) -> SceneGradient:
    """Gradient of `mixed`."""
    gates, online, read = saved
    if read is None:
        d_checkpoints = namespace(dy).zeros_like(scene.checkpoints)
        return SceneGradient({}, None, _weighed(online, dy), d_checkpoints, None)
    dq, d_mixed, _ = scene.backend.read_backward(read, dy)
    d_checkpoints = mixtures_backward(gates[..., :-1], d_mixed)
    return SceneGradient({"q": dq}, None, _weighed(online, dy), d_checkpoints, None)


def gated(scene: Scene, gates: Array) -> tuple[Array, Any]:
    """`g_online o + sum_i g_i read(M_i, q)` with gates per token."""
    y, read = gates[..., -1:] * scene.reads, None
    if scene.segments.columns:
        q, cached = scene.inputs["q"], scene.checkpoints
        seen, read = scene.backend.read(scene.rule, q, cached, gates[..., :-1], scene.segments)
        y = y + seen
    return y, (gates, read)


def gated_backward(scene: Scene, saved: Any, dy: Array) -> tuple[SceneGradient, Array]:
    """Gradient of `gated`, and that with respect to the gates."""
    gates, read = saved
    xp = namespace(gates)
    d_gates, d_checkpoints = xp.zeros_like(gates), xp.zeros_like(scene.checkpoints)
    d_gates[..., -1] = dots(dy, scene.reads)
    d_reads = gates[..., -1:] * dy
    if read is None:
        return SceneGradient({}, None, d_reads, d_checkpoints, None), d_gates
    dq, d_checkpoints, d_gates[..., :-1] = scene.backend.read_backward(read, dy)
    return SceneGradient({"q": dq}, None, d_reads, d_checkpoints, None), d_gates


def per_token(scene: Scene) -> Array:
    """(B, T, H, columns + 1) the readout's constant gates, the same for all heads."""
    gates = scene.readout.constant_gates(scene.segments).astype(scene.reads.dtype)
    spread = _of_tokens(gates, scene)[:, :, None]
    shape, xp = (*scene.reads.shape[:3], spread.shape[-1]), namespace(spread)
    whole: Array = xp.ascontiguousarray(xp.broadcast_to(spread, shape))
    return whole


def _weighed(gates: Array | None, x: Array) -> Array:
    """x (B, T, H, V) times the gate (B, T) of each token; itself if all are 1."""
    return x if gates is None else gates[..., None, None] * x


def _of_tokens(per_segment: Array, scene: Scene) -> Array:
    """(B, S, ...) on the host to (B, T, ...) of the scene: each token gets its segment's entry."""
    segments = scene.segments
    rows = np.arange(segments.rows)[:, None]
    return entries(like(scene.reads, per_segment), rows, segments.index)
