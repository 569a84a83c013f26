"""A routed layer of a rule with a scan of its own: the scan, then gates and reads in one pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import FusedAnswer, FusedGradient, Stored
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.fused import outcome, outcome_backward
from mcore.backends.numba_cpu.fused_anatomy import Anatomy, Body
from mcore.backends.numba_cpu.fused_inputs import Divisors, LayerInputs, layer_inputs
from mcore.backends.numba_cpu.scan import flattened
from mcore.recurrence import Inputs
from mcore.router import Pool, Router
from mcore.segments import Segments


class ReadsSaved(NamedTuple):
    """What a forward keeps.

    Attributes:
        x, out: of the kernels, y left out.
        scan: of the scan.
        checkpoints: (B, cached + S, H, P).
        body: what of them is read.
    """

    x: LayerInputs
    out: Any
    scan: Any
    checkpoints: Array
    body: Body


class FusedReads(NamedTuple):
    """See `mcore.backend.Fused`.

    Attributes:
        scan, scan_backward: of the backend, for one rule.
        anatomy: of the rule's checkpoints.
        router, threads: as of `FusedLayer`.
    """

    scan: Callable[..., Any]
    scan_backward: Callable[..., Any]
    anatomy: Anatomy
    router: Router
    threads: int

    def forward(
        self, inputs: Inputs, queries: Array, stored: Stored, segments: Segments
    ) -> tuple[FusedAnswer, ReadsSaved]:
        """y, and the ends of the segments."""
        found, scan_saved = self.scan(inputs, stored.carry, segments)
        checkpoints = np.concatenate([stored.checkpoints, found.checkpoints], axis=1)
        body = self.anatomy.split(checkpoints, inputs["q"].shape[-1])
        given = {"q": inputs["q"], "k": inputs["k"], "v": found.reads}
        cached = Stored(None, flattened(body.matrix[:, : segments.cached]), stored.pool)
        x = layer_inputs(given, queries, cached, segments, self.router)
        x = x._replace(given=1, divisors=_divisors(body, x))
        out = outcome(x, self.threads, plain(body.matrix[:, segments.cached :], x.u))
        answer = FusedAnswer(out.y, found.checkpoints, out.contexts)
        kept = out._replace(y=np.empty((0, 0, 0, 0), out.y.dtype))
        return answer, ReadsSaved(x, kept, scan_saved, checkpoints, body)

    def backward(
        self, saved: ReadsSaved, dy: Array, d_states: Array | None, d_contexts: Array | None
    ) -> FusedGradient:
        """Gradients with respect to all that came in."""
        x, cached = saved.x, saved.x.stock.states.shape[1]
        found = outcome_backward(x, self.threads, (saved.out, dy, None, d_contexts))
        matrices = np.concatenate([found.stock.states, found.states], axis=1)
        d_checkpoints = self.anatomy.join(
            saved.checkpoints, _gradient(saved.body, matrices, found.divisors)
        )
        d_ends = d_checkpoints[:, cached:]
        if d_states is not None:
            d_ends = d_ends + d_states
        d_inputs, d_carry = self.scan_backward(saved.scan, found.scan.v, d_ends)
        d_inputs = dict(d_inputs)
        for name, gradient in (("q", found.scan.q), ("k", found.scan.k)):
            d_inputs[name] = d_inputs[name] + gradient
        pool = Pool(found.stock.contexts, found.stock.keys)
        return FusedGradient(d_inputs, found.u, Stored(d_carry, d_checkpoints[:, :cached], pool))


def _divisors(body: Body, x: LayerInputs) -> Divisors:
    """Of the columns that can be seen: all but the last segment's."""
    normalizers, floors = x.divisors
    if body.normalizer is not None:
        normalizers = plain(body.normalizer[:, :-1], x.u)
    if body.floor is not None:
        floors = plain(body.floor[:, :-1], x.u)
    return Divisors(normalizers, floors)


def _gradient(body: Body, matrices: Array, divisors: Divisors) -> Body:
    """Gradients of all checkpoints; nobody divides by the last segment's."""
    return Body(
        matrices,
        None if body.normalizer is None else _one_more(body.normalizer, divisors.normalizers),
        None if body.floor is None else _one_more(body.floor, divisors.floors),
    )


def _one_more(like: Array, part: Array) -> Array:
    whole = np.zeros_like(like)
    whole[:, :-1] = part
    return whole
