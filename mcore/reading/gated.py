"""Gates given beforehand: a weighted sum of the memories' answers.

Constant gates mix the checkpoints of a linear memory once per segment, then read once.
"""

from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.reading.mixing import mixtures, mixtures_backward
from mcore.reading.scene import Scene, SceneGradient
from mcore.segments import Segments


def mixed(scene: Scene) -> tuple[Array, Any]:
    """Constant gates over a linear read: `sum_i g_i M_i` once per segment, then one read."""
    segments, rule = scene.segments, scene.rule
    gates = scene.readout.constant_gates(segments).astype(scene.reads.dtype)
    online = _of_tokens(gates[..., -1], segments)[..., None, None]
    y, read = online * scene.reads, None
    if segments.columns:
        mixture = mixtures(gates[..., :-1], scene.checkpoints)
        cached, read = scene.backend.read(rule, scene.inputs["q"], mixture, None, segments.own())
        y = y + cached
    return y, (gates, online, read)


def mixed_backward(scene: Scene, saved: Any, dy: Array) -> SceneGradient:
    """Gradient of `mixed`."""
    gates, online, read = saved
    if read is None:
        return SceneGradient({}, None, online * dy, np.zeros_like(scene.checkpoints), None)
    dq, d_mixed, _ = scene.backend.read_backward(read, dy)
    d_checkpoints = mixtures_backward(gates[..., :-1], d_mixed)
    return SceneGradient({"q": dq}, None, online * dy, d_checkpoints, None)


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
    d_gates = np.zeros_like(gates)
    d_gates[..., -1] = np.einsum("bthv,bthv->bth", dy, scene.reads)
    d_reads, d_checkpoints = gates[..., -1:] * dy, np.zeros_like(scene.checkpoints)
    if read is None:
        return SceneGradient({}, None, d_reads, d_checkpoints, None), d_gates
    dq, d_checkpoints, d_gates[..., :-1] = scene.backend.read_backward(read, dy)
    return SceneGradient({"q": dq}, None, d_reads, d_checkpoints, None), d_gates


def per_token(scene: Scene) -> Array:
    """(B, T, H, columns + 1) the readout's constant gates, the same for all heads."""
    gates = scene.readout.constant_gates(scene.segments).astype(scene.reads.dtype)
    spread = _of_tokens(gates, scene.segments)[:, :, None]
    shape = (*scene.reads.shape[:3], spread.shape[-1])
    return np.ascontiguousarray(np.broadcast_to(spread, shape))


def _of_tokens(per_segment: Array, segments: Segments) -> Array:
    """(B, S, ...) to (B, T, ...): each token gets its segment's entry."""
    picked: Array = per_segment[np.arange(segments.rows)[:, None], segments.index]
    return picked
