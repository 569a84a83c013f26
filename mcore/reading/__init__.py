"""How the online memory's answers and the checkpoints become the output: one pair per form.

Nearly all forms compute `y_t = g_t,online o_t + sum_i g_t,i M_i(q_t)` (soup: mix first, then read).
They differ in where gates come from, and in how cheaply:

    scene    what a form works on, and what it gives back
    gated    gates given beforehand; constant ones mix the checkpoints of a linear memory first
    routed   gates from contexts
    sigmoid  gates per channel, from the answers themselves
"""

from typing import Any

from mcore.arrays import Array, namespace
from mcore.reading.gated import gated, gated_backward, mixed, mixed_backward, per_token
from mcore.reading.routed import routed, routed_backward
from mcore.reading.scene import (
    Output,
    Scene,
    SceneGradient,
    Setting,
    add_gradients,
    add_optional,
)
from mcore.reading.sigmoid import sigmoid, sigmoid_backward

__all__ = [
    "Scene",
    "SceneGradient",
    "Setting",
    "add_gradients",
    "add_optional",
    "answer",
    "answer_backward",
]


def answer(scene: Scene) -> tuple[Output, Any]:
    """The output of the readout, by the cheapest exact form."""
    if not scene.readout.reads_cache:
        return (scene.reads, None), ("online", None)
    if scene.readout.routing is not None:
        output, saved = routed(scene)
        return output, ("routed", saved)
    if scene.readout.answers_gate:
        y, saved = sigmoid(scene)
        return (y, None), ("sigmoid", saved)
    if scene.rule.linear_read:
        y, saved = mixed(scene)
        return (y, None), ("mixed", saved)
    y, saved = gated(scene, per_token(scene))
    return (y, None), ("constant", saved)


def answer_backward(scene: Scene, saved: Any, dy: Array, d_contexts: Array) -> SceneGradient:
    """Gradient of `answer`; `d_contexts` (B, S, H, K) is that of the routes' contexts."""
    form, kept = saved
    if form == "online":
        return SceneGradient({}, None, dy, namespace(dy).zeros_like(scene.checkpoints), None)
    if form == "routed":
        return routed_backward(scene, kept, dy, d_contexts)
    if form == "sigmoid":
        return sigmoid_backward(scene, kept, dy)
    if form == "mixed":
        return mixed_backward(scene, kept, dy)
    return gated_backward(scene, kept, dy)[0]
