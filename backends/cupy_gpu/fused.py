"""A routed memory layer on the device: the rule's scan, then gates and reads in one pass.

    y_t = g_t o_t + sum_i w_ti S_i^T q_t

Tokens read all the checkpoints that they see (`fused_read.py`), or their best few, gathered by
checkpoint (`sparse_read.py`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backend import FusedAnswer, FusedGradient, Stored
from mcore.backends.cupy_gpu.anatomy import Anatomy, anatomy, is_matrix
from mcore.backends.cupy_gpu.blocks import Plan, plan
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.fused_read import DENSE
from mcore.backends.cupy_gpu.layer import Ends, Kernels, Layer
from mcore.backends.cupy_gpu.route import pooled, pooled_backward, routing_keys
from mcore.backends.cupy_gpu.sight import sight_on
from mcore.backends.cupy_gpu.sparse_read import MOST, SPARSE
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Pool, Router
from mcore.segments import Segments


class Scans(NamedTuple):
    """A backend's scan of one rule, and its backward."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]


class FusedSaved(NamedTuple):
    """What a forward keeps."""

    scan: Any
    layer: Layer
    kept: Any


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
        return answer, FusedSaved(scan, layer, outcome.kept)

    def backward(
        self, saved: FusedSaved, dy: Array, d_checkpoints: Array | None, d_contexts: Array | None
    ) -> FusedGradient:
        """Gradients with respect to all that came in."""
        layer, chooser = saved.layer, self._pooling(saved.layer.q)
        ends = self._ends(layer, d_checkpoints, d_contexts)
        found = self._kernels.backward(self.device, (layer, saved.kept), dy, self.router, ends)
        incoming = (ends.contexts, found.online)
        dk, d_before = pooled_backward(chooser, layer.x, incoming, found.u)
        d_inputs, d_carry = self.scans.backward(saved.scan, found.reads, ends.own)
        d_inputs = dict(d_inputs)
        d_inputs["q"] = d_inputs["q"] + found.q
        d_inputs["k"] = d_inputs["k"] + dk
        stored = Stored(d_carry, ends.cached, Pool(ends.cached_contexts, d_before))
        return FusedGradient(d_inputs, found.u, stored)

    @property
    def _kernels(self) -> Kernels:
        return DENSE if self.router.top_k is None else SPARSE

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


def fused_layer(
    device: Device, rule: Recurrence, router: Router, scans: Scans
) -> FusedLayer | None:
    """The layer in one pass; None where it is composed of the backend's operations."""
    divided, few = bool(getattr(rule, "normalize", False)), router.top_k
    if router.seed is not None or not is_matrix(rule) or (few and (divided or few > MOST)):
        return None
    return FusedLayer(device, rule, router, scans)
