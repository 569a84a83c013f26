"""Gates by content: route, then read with those gates, or mix memories by them and read once."""

from typing import Any

from mcore.arrays import Array, namespace
from mcore.reading.gated import gated, gated_backward
from mcore.reading.scene import Output, Scene, SceneGradient, add_gradients


def routed(scene: Scene) -> tuple[Output, Any]:
    """The output, and what routing found."""
    router, readout = scene.readout.routing, scene.readout
    assert router is not None
    queries, keys = readout.queries(scene.inputs), scene.inputs["k"]
    routes, route = scene.backend.route(queries, keys, scene.segments, router, scene.pool)
    if readout.mixes_states and not scene.rule.linear_read:
        cached = (scene.checkpoints, routes.gates)
        y, soup = scene.backend.soup(scene.rule, scene.inputs, scene.carry, scene.segments, cached)
        return (y, routes), (route, "soup", soup)
    y, kept = gated(scene, routes.gates)
    return (y, routes), (route, "gated", kept)


def routed_backward(scene: Scene, saved: Any, dy: Array, d_contexts: Array) -> SceneGradient:
    """Gradient of `routed`; `d_contexts` (B, S, H, K) is that of the contexts it found."""
    route, form, kept = saved
    if form == "soup":
        d_inputs, d_carry, d_checkpoints, d_gates = scene.backend.soup_backward(kept, dy)
        d_reads = namespace(dy).zeros_like(scene.reads)
    else:
        gradient, d_gates = gated_backward(scene, kept, dy)
        d_inputs, d_carry, d_reads, d_checkpoints, _ = gradient
    d_queries, dk, d_pool = scene.backend.route_backward(route, d_gates, d_contexts)
    d_inputs = add_gradients(d_inputs, {"k": dk})
    d_inputs = add_gradients(d_inputs, scene.readout.queries_backward(scene.inputs, d_queries))
    router = scene.readout.routing
    if router is not None and router.detach:
        d_checkpoints = namespace(dy).zeros_like(d_checkpoints)
    return SceneGradient(d_inputs, d_carry, d_reads, d_checkpoints, d_pool)
