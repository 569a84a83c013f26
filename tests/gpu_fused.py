"""What a fused layer and a sigmoid read are composed of, and the GPU's beside them."""

from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backend import AnswerGates, FusedAnswer, FusedGradient, Scan, SigmoidGradient, Stored
from mcore.backends.numpy_ref.backend import ReferenceBackend
from mcore.cache import join
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Router
from mcore.segments import Segments

REFERENCE = ReferenceBackend()


class GivenScan:
    """A scan whose answers and checkpoints are inputs, and whose gradients are handed back."""

    def scan(self, rule: Any, inputs: Inputs, carry: Any, segments: Segments) -> tuple[Scan, Any]:
        return Scan(inputs["reads"], inputs["ends"]), inputs

    def scan_backward(self, saved: Inputs, d_reads: Array, d_ends: Array) -> tuple[Any, None]:
        nothing = {name: 0 * saved[name] for name in ("q", "k")}
        return {**nothing, "reads": d_reads, "ends": d_ends}, None


class Composed:
    """See `mcore.backend.Fused`: a scan, the reference's routing and its read, one by one."""

    def __init__(self, rule: Recurrence, router: Router, scans: Any = REFERENCE) -> None:
        self.rule, self.router, self.scans = rule, router, scans

    def forward(
        self, inputs: Inputs, queries: Array, stored: Stored, segments: Segments
    ) -> tuple[FusedAnswer, Any]:
        found, scan = self.scans.scan(self.rule, inputs, stored.carry, segments)
        routing = (queries, inputs["k"], segments, self.router, stored.pool)
        routes, route = REFERENCE.route(*routing)
        y, read = routes.gates[..., -1:] * found.reads, None
        if segments.columns:
            states = join(stored.checkpoints, found.checkpoints, segments.columns)
            gates = routes.gates[..., :-1]
            seen, read = REFERENCE.read(self.rule, inputs["q"], states, gates, segments)
            y = y + seen
        answer = FusedAnswer(y, found.checkpoints, routes.contexts)
        return answer, (scan, route, read, found, routes, segments.cached)

    def backward(self, saved: Any, dy: Array, d_states: Any, d_contexts: Any) -> FusedGradient:
        scan, route, read, found, routes, cached = saved
        gates, d_gates = routes.gates, np.zeros_like(routes.gates)
        d_gates[..., -1] = (dy * found.reads).sum(axis=-1)
        shape = (found.reads.shape[0], cached, *found.checkpoints.shape[2:])
        d_all = np.zeros((shape[0], cached + found.checkpoints.shape[1], *shape[2:]), dy.dtype)
        dq: Any = 0
        if read is not None:
            dq, d_seen, d_gates[..., :-1] = REFERENCE.read_backward(read, dy)
            d_all[:, : d_seen.shape[1]] = 0 if self.router.detach else d_seen
        if d_states is not None:
            d_all[:, cached:] += d_states
        d_contexts = np.zeros_like(routes.contexts) if d_contexts is None else d_contexts
        du, dk, d_pool = REFERENCE.route_backward(route, d_gates, d_contexts)
        d_online = gates[..., -1:] * dy
        d_inputs, d_carry = self.scans.scan_backward(scan, d_online, d_all[:, cached:])
        d_inputs = {**d_inputs, "q": d_inputs["q"] + dq, "k": d_inputs["k"] + dk}
        return FusedGradient(d_inputs, du, Stored(d_carry, d_all[:, :cached], d_pool))


class ComposedSigmoid:
    """See `mcore.backend.SigmoidRead`: every checkpoint asked by the reference, then weighed."""

    def __init__(self, rule: Recurrence) -> None:
        self.rule = rule

    def forward(
        self, q: Array, reads: Array, checkpoints: Array, gates: AnswerGates, segments: Segments
    ) -> tuple[Array, Any]:
        y, answers = reads.copy(), []
        base = np.einsum("bthv,hvw->bthw", reads, gates.online) + gates.bias
        for column in range(segments.columns):
            state, only = checkpoints[:, column : column + 1], segments.only(column)
            answer, read = REFERENCE.read(self.rule, q, state, None, only)
            a = base + np.einsum("bthv,hvw->bthw", answer, gates.cached)
            gate = 1 / (1 + np.exp(-a))
            y += gate * answer
            answers.append((answer, gate, read))
        return y, (q, reads, checkpoints, gates, answers)

    def backward(self, saved: Any, dy: Array) -> SigmoidGradient:
        q, reads, checkpoints, gates, answers = saved
        dq, d_base, d_states = np.zeros_like(q), np.zeros_like(dy), np.zeros_like(checkpoints)
        d_cached = np.zeros_like(gates.cached)
        for column, (answer, gate, read) in enumerate(answers):
            d_sum = dy * answer * gate * (1 - gate)
            d_answer = dy * gate + np.einsum("bthw,hvw->bthv", d_sum, gates.cached)
            d_query, d_state, _ = REFERENCE.read_backward(read, d_answer)
            dq, d_base = dq + d_query, d_base + d_sum
            d_states[:, column] = d_state[:, 0]
            d_cached += np.einsum("bthv,bthw->hvw", answer, d_sum)
        d_online = np.einsum("bthv,bthw->hvw", reads, d_base)
        d_gates = AnswerGates(d_online, d_cached, d_base.sum(axis=(0, 1)))
        d_reads = dy + np.einsum("bthw,hvw->bthv", d_base, gates.online)
        return SigmoidGradient(dq, d_reads, d_states, d_gates)
