"""A routed memory layer on the device: the rule's scan, then gates and reads in one pass.

    y_t = g_t o_t + sum_i w_ti S_i^T q_t

No array over tokens and checkpoints is made: a forward keeps of each token what its softmax is
divided by, and a backward makes the same gates again. Tokens that read their best few checkpoints
only are gathered by checkpoint: `sparse.py`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backend import FusedAnswer, FusedGradient, Stored
from mcore.backends.cupy_gpu.anatomy import Anatomy, anatomy
from mcore.backends.cupy_gpu.blocks import COLUMNS, Plan, blocks, plan, row
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.read import answer_bytes, backward_bytes, state_bytes
from mcore.backends.cupy_gpu.route import Keys, pooled, pooled_backward, routing_keys
from mcore.backends.cupy_gpu.sight import Sight, sight_on
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Pool, Router
from mcore.segments import Segments


class Scans(NamedTuple):
    """A backend's scan of one rule, and its backward."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]


class Layer(NamedTuple):
    """What the kernels of a layer work on.

    Attributes:
        q: (B, T, H, K) queries; u and the keys of contexts are in `x`.
        reads: (B, T, H, V) answers of the online memory.
        cached, own: (B, cached, H, P), (B, S, H, P) checkpoints.
        form: of them.
        x: what contexts are made of.
        contexts: (B, S, H, K) of this call's segments.
        online: (B, T, H) logits of the online memory.
        sight: who sees what.
    """

    q: Array
    reads: Array
    cached: Array
    own: Array
    form: Anatomy
    x: Keys
    contexts: Array
    online: Array
    sight: Sight

    @property
    def lead(self) -> tuple[int, int, int]:
        """B, T, H."""
        rows, tokens, heads, _ = self.q.shape
        return rows, tokens, heads

    @property
    def memories(self) -> tuple[Array, ...]:
        """Checkpoints and contexts, as kernels take them."""
        return self.cached, self.own, self.x.cached, self.contexts

    @property
    def sizes(self) -> tuple[int, ...]:
        """As kernels take them."""
        form, (_, tokens, heads) = self.form, self.lead
        counts = (self.cached.shape[1], self.own.shape[1])
        return tokens, heads, form.keys, form.values, *counts, form.size, form.stride, form.divided


class Ends(NamedTuple):
    """Gradients of checkpoints, (B, cached, H, P) and (B, S, H, P), and of contexts likewise."""

    cached: Array
    own: Array
    cached_contexts: Array
    contexts: Array


class Outcome(NamedTuple):
    """What a layer's gates and reads give, and what their backward needs besides the layer.

    Attributes:
        y: (B, T, H, V).
        kept: of the softmax of each token.
    """

    y: Array
    kept: Any


class Backward(NamedTuple):
    """Gradients of a layer: of q, u and the online answers and logits; those of `Ends` are added."""

    q: Array
    u: Array
    reads: Array
    online: Array


class FusedSaved(NamedTuple):
    """What a forward keeps."""

    scan: Any
    layer: Layer
    outcome: Outcome


class FusedLayer(NamedTuple):
    """See `mcore.backend.Fused`.

    Attributes:
        device, rule, router: of the layer.
        scans: of the backend.
    """

    device: Device
    rule: Recurrence
    router: Router
    scans: Scans

    def forward(
        self, inputs: Inputs, queries: Array, stored: Stored, segments: Segments
    ) -> tuple[FusedAnswer, FusedSaved]:
        """y, and the ends of the segments."""
        found, scan = self.scans.forward(self.rule, inputs, stored.carry, segments)
        q, form = inputs["q"], self._form(inputs, found.checkpoints)
        made, chooser = plan(self.device, "fused_read", q, form.keys, form.values), self._pooling(q)
        vectors = (queries, inputs["k"])
        x = routing_keys(chooser, vectors, segments, self.router, stored.pool)
        contexts, online = pooled(chooser, x)
        states = made.numbers(stored.checkpoints), made.numbers(found.checkpoints)
        reads, sight = made.tokens(found.reads), sight_on(self.device, segments)
        layer = Layer(made.tokens(q), reads, *states, form, x, contexts, online, sight)
        outcome = self._kernels.forward(self.device, layer, self.router)
        answer = FusedAnswer(outcome.y, found.checkpoints, contexts)
        return answer, FusedSaved(scan, layer, outcome)

    def backward(
        self, saved: FusedSaved, dy: Array, d_checkpoints: Array | None, d_contexts: Array | None
    ) -> FusedGradient:
        """Gradients with respect to all that came in."""
        layer, chooser = saved.layer, self._pooling(saved.layer.q)
        ends = self._ends(layer, d_checkpoints, d_contexts)
        found = self._kernels.backward(self.device, (layer, saved.outcome), dy, self.router, ends)
        incoming = (ends.contexts, found.online)
        dk, d_before = pooled_backward(chooser, layer.x, incoming, found.u)
        d_inputs, d_carry = self.scans.backward(saved.scan, found.reads, ends.own)
        d_inputs = dict(d_inputs)
        d_inputs["q"] = d_inputs["q"] + found.q
        d_inputs["k"] = d_inputs["k"] + dk
        stored = Stored(d_carry, ends.cached, Pool(ends.cached_contexts, d_before))
        return FusedGradient(d_inputs, found.u, stored)

    @property
    def _kernels(self) -> "Kernels":
        return DENSE

    def _form(self, inputs: Inputs, checkpoints: Array) -> Anatomy:
        form = anatomy(self.rule, inputs["q"].shape[-1], checkpoints.shape[-1])
        assert form is not None
        return form

    def _pooling(self, q: Array) -> Plan:
        return plan(self.device, "route", q, q.shape[-1])

    def _ends(self, layer: Layer, d_states: Array | None, d_contexts: Array | None) -> Ends:
        """Room for gradients, with those that come from outside."""
        xp, dtype = self.device.xp, layer.own.dtype
        given = [
            xp.zeros(like.shape, dtype) if d is None else xp.array(d, dtype)
            for like, d in ((layer.own, d_states), (layer.contexts, d_contexts))
        ]
        cached, contexts = (xp.zeros(x.shape, dtype) for x in (layer.cached, layer.x.cached))
        return Ends(cached, given[0], contexts, given[1])


class Kernels(NamedTuple):
    """Gates and reads of a layer.

    Attributes:
        forward: `(device, layer, router) -> Outcome`.
        backward: `(device, (layer, outcome), dy, router, ends) -> Backward`.
    """

    forward: Callable[..., Outcome]
    backward: Callable[..., Backward]


def forward(device: Device, layer: Layer, router: Router) -> Outcome:
    """Every token reads all that it sees."""
    made = plan(device, "fused_read", layer.q, layer.form.keys, layer.form.values)
    x, sight, (rows, tokens, heads) = layer.x, layer.sight, layer.lead
    grid = blocks(tokens, made.rows), heads, rows
    wide, kept = made.rows * row(made.keys), tuple(made.array(layer.lead) for _ in range(3))
    sizes = (tokens, heads, layer.form.keys, layer.cached.shape[1], x.own)
    arguments = (
        x.u, x.cached, layer.contexts, layer.online, sight.first, sight.last, *kept, *sizes,
        router.online == "outside",
    )  # fmt: skip
    shared = made.bytes(wide, COLUMNS * row(made.keys), integers=2 * made.rows)
    made.run("gate_sums", grid, arguments, shared)
    y = device.xp.empty_like(layer.reads)
    vectors = (layer.q, x.u, layer.reads, *layer.memories)
    arguments = (*vectors, sight.first, sight.last, *kept, y, *layer.sizes)
    shared += made.bytes(wide, 2 * made.rows) + answer_bytes(made, layer.form.divided)
    made.run("fused_read", grid, arguments, shared)
    return Outcome(y, kept)


def backward(
    device: Device, given: tuple[Layer, Outcome], dy: Array, router: Router, ends: Ends
) -> Backward:
    """Its gradients; those of checkpoints and contexts are added to `ends`."""
    layer, (y, kept) = given
    made = plan(device, "fused_read", layer.q, layer.form.keys, layer.form.values)
    x, sight, (rows, tokens, heads) = layer.x, layer.sight, layer.lead
    mean, d_online = made.array(layer.lead), made.array(layer.lead)
    dq, du, d_reads = (device.xp.empty_like(a) for a in (layer.q, x.u, layer.reads))
    dy, seen = made.tokens(dy), (sight.first, sight.last)
    arguments = (
        layer.q, x.u, layer.reads, *layer.memories, *seen, *kept, y, dy, dq, du, d_reads, mean,
        d_online, *layer.sizes, router.online == "outside",
    )  # fmt: skip
    wide, divided = made.rows * row(made.keys), layer.form.divided
    pieces = (wide, wide, COLUMNS * row(made.keys), 3 * made.rows, made.rows * row(made.values))
    shared = made.bytes(*pieces, integers=2 * made.rows) + backward_bytes(made, divided)
    made.run("fused_queries_backward", (blocks(tokens, made.rows), heads, rows), arguments, shared)
    if not router.detach:
        span, peaks = (sight.begin, sight.end), (*kept[:2], mean)
        arguments = (
            layer.q, x.u, *layer.memories, *seen, *span, *peaks, dy, *ends, *layer.sizes,
        )  # fmt: skip
        shared = made.bytes(made.rows * (made.keys + 8), made.rows, made.keys)
        shared += state_bytes(made, True)
        made.run("fused_states_backward", (x.columns, heads, rows), arguments, shared)
    return Backward(dq, du, d_reads, d_online)


DENSE = Kernels(forward, backward)
"""For routers that read all checkpoints."""


def fused_layer(
    device: Device, rule: Recurrence, router: Router, scans: Scans
) -> FusedLayer | None:
    """The layer in one pass; None where it is composed of the backend's operations."""
    if router.seed is not None or router.top_k is not None:
        return None
    if anatomy(rule, 1, 4) is None:
        return None
    return FusedLayer(device, rule, router, scans)
