"""Gates per channel, made from the answers of the online memory and of the checkpoint itself.

    y = o + sum_i g_i * o_i,   g_i = sigmoid(o @ gate_online + o_i @ gate_cached + gate_bias)

Where the backend does not do it in one go: one checkpoint at a time, and once more in the backward.
The answers of all of them to all tokens are never there together.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.backend import AnswerGates
from mcore.reading.scene import Scene, SceneGradient


class _Answer(NamedTuple):
    """What a checkpoint says to the tokens from `since` on, the first that sees it.

    Attributes:
        column: of the cache.
        since: earlier tokens see nothing of it.
        answer: (B, T - since, H, V), 0 where it is not seen.
        gate: likewise.
        saved: for the backward of the read.
    """

    column: int
    since: int
    answer: Array
    gate: Array
    saved: Any


def sigmoid(scene: Scene) -> tuple[Array, Any]:
    """The output, and what the backend's backward needs; ours needs no more than the scene."""
    kernels, x = scene.backend.sigmoid_read(scene.rule), scene.inputs
    if kernels is not None:
        gates = AnswerGates(x["gate_online"], x["gate_cached"], x["gate_bias"])
        return kernels.forward(x["q"], scene.reads, scene.checkpoints, gates, scene.segments)
    y = scene.reads.copy()
    for part in _answers(scene):
        y[:, part.since :] += part.gate * part.answer
    return y, None


def sigmoid_backward(scene: Scene, saved: Any, dy: Array) -> SceneGradient:
    """Gradient of `sigmoid`."""
    kernels = scene.backend.sigmoid_read(scene.rule)
    if kernels is None:
        return _composed_backward(scene, dy)
    dq, d_reads, d_checkpoints, gates = kernels.backward(saved, dy)
    d_inputs = {"q": dq, **{f"gate_{name}": x for name, x in gates._asdict().items()}}
    return SceneGradient(d_inputs, None, d_reads, d_checkpoints, None)


def _composed_backward(scene: Scene, dy: Array) -> SceneGradient:
    """With a_i the sum in g_i, `da_i = dy o_i g_i (1 - g_i)`."""
    online, cached = scene.inputs["gate_online"], scene.inputs["gate_cached"]
    xp = namespace(dy)
    d_base, d_cached = xp.zeros_like(dy), xp.zeros_like(cached)
    d_checkpoints, dq = xp.zeros_like(scene.checkpoints), xp.zeros_like(scene.inputs["q"])
    for column, since, answer, gate, saved in _answers(scene):
        d_gated = dy[:, since:] * gate
        d_sum = d_gated * answer * (1 - gate)
        d_base[:, since:] += d_sum
        d_cached += _outer(answer, d_sum)
        d_answer = xp.zeros_like(dy)
        d_answer[:, since:] = d_gated + _times(d_sum, cached.swapaxes(1, 2))
        d_query, d_states, _ = scene.backend.read_backward(saved, d_answer)
        dq += d_query
        d_checkpoints[:, column] = d_states[:, 0]
    d_inputs = {
        "q": dq,
        "gate_online": _outer(scene.reads, d_base),
        "gate_cached": d_cached,
        "gate_bias": d_base.sum(axis=(0, 1)),
    }
    d_reads = dy + _times(d_base, online.swapaxes(1, 2))
    return SceneGradient(d_inputs, None, d_reads, d_checkpoints, None)


def _answers(scene: Scene) -> Iterator[_Answer]:
    """Every checkpoint that some token sees, in order."""
    inputs, seen = scene.inputs, scene.segments.visible
    base = _times(scene.reads, inputs["gate_online"]) + inputs["gate_bias"]
    for column in range(scene.segments.columns):
        tokens = np.flatnonzero(seen[:, :, column].any(axis=0))
        if not len(tokens):
            continue
        since = int(tokens[0])
        only, checkpoint = scene.segments.only(column), scene.checkpoints[:, column : column + 1]
        whole, saved = scene.backend.read(scene.rule, inputs["q"], checkpoint, None, only)
        answer = whole[:, since:]
        gate = _squash(base[:, since:] + _times(answer, inputs["gate_cached"]))
        yield _Answer(column, since, answer, gate, saved)


def _squash(x: Array) -> Array:
    """`1 / (1 + e^-x)`, which never overflows; in place."""
    x *= 0.5
    namespace(x).tanh(x, out=x)
    x += 1
    x *= 0.5
    return x


def _times(x: Array, matrices: Array) -> Array:
    """A matrix per head: (B, T, H, V), (H, V, W) -> (B, T, H, W)."""
    product: Array = (x.swapaxes(1, 2) @ matrices).swapaxes(1, 2)
    return product


def _outer(x: Array, d_product: Array) -> Array:
    """(H, V, W) gradient of the matrices in `_times`."""
    total: Array = (x.transpose(0, 2, 3, 1) @ d_product.swapaxes(1, 2)).sum(axis=0)
    return total
