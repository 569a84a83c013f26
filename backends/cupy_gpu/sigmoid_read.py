"""Reads under the `sigmoid` readout on the device, for reads that are linear.

y = o + sum_i g_i * o_i,   g_i = sigmoid(o @ online + o_i @ cached + bias),   o_i = S_i^T q
"""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backend import AnswerGates, SigmoidGradient
from mcore.backends.cupy_gpu.anatomy import Anatomy, anatomy, is_matrix
from mcore.backends.cupy_gpu.blocks import Plan, blocks, plan, row
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.sight import Sight, sight_on
from mcore.recurrence import Recurrence
from mcore.segments import Segments

BLOCKS = 8
"""Blocks of tokens whose part of a matrix's gradient one block sums."""


class SigmoidSaved(NamedTuple):
    """What a forward keeps.

    Attributes:
        q: (B, T, H, K).
        reads: (B, T, H, V) answers of the online memory.
        states: (B, C, H, P) checkpoints.
        gates: what makes gates of answers.
        base: (B, T, H, V) what all gates of a token have in common.
        sight: who sees what.
        form: of the checkpoints.
    """

    q: Array
    reads: Array
    states: Array
    gates: AnswerGates
    base: Array
    sight: Sight
    form: Anatomy

    @property
    def lead(self) -> tuple[int, int, int]:
        """B, T, H."""
        rows, tokens, heads, _ = self.q.shape
        return rows, tokens, heads

    @property
    def sizes(self) -> tuple[int, ...]:
        """As kernels take them."""
        form, (_, tokens, heads) = self.form, self.lead
        return tokens, heads, form.keys, form.values, self.states.shape[1], form.size, form.stride


class SigmoidLayer(NamedTuple):
    """See `mcore.backend.SigmoidRead`."""

    device: Device
    rule: Recurrence

    def forward(
        self, q: Array, reads: Array, checkpoints: Array, gates: AnswerGates, segments: Segments
    ) -> tuple[Array, SigmoidSaved]:
        """y (B, T, H, V)."""
        form = anatomy(self.rule, q.shape[-1], self._size(q, reads, checkpoints))
        assert form is not None
        made = _plan(self.device, q, form)
        numbers = (made.numbers(checkpoints), AnswerGates(*map(made.numbers, gates)))
        base, sight = made.array(reads.shape), sight_on(self.device, segments)
        x = SigmoidSaved(made.tokens(q), made.tokens(reads), *numbers, base, sight, form)
        rows, tokens, heads = x.lead
        grid, y = (blocks(tokens, made.rows), heads, rows), self.device.xp.empty_like(x.reads)
        arguments: tuple[Any, ...] = (x.reads, x.gates.online, x.gates.bias, base)
        wide, gate = made.rows * row(made.values), _factor(made, made.values)
        sizes = (tokens, heads, form.values)
        made.run("sigmoid_base", grid, (*arguments, *sizes), made.bytes(wide, gate))
        seen = (sight.first, sight.last)
        arguments = (x.q, x.reads, x.states, x.gates.cached, base, *seen, y, *x.sizes)
        made.run("sigmoid_answers", grid, arguments, _room(made))
        return y, x

    def backward(self, x: SigmoidSaved, dy: Array) -> SigmoidGradient:
        """Gradients with respect to all that came in."""
        made, (rows, tokens, heads) = _plan(self.device, x.q, x.form), x.lead
        d_base, dy, seen = made.array(x.base.shape), made.tokens(dy), (x.sight.first, x.sight.last)
        dq, d_reads = (self.device.xp.empty_like(a) for a in (x.q, x.reads))
        given = (x.q, x.states, x.gates.online, x.gates.cached, x.base)
        arguments = (*given, *seen, dy, dq, d_reads, d_base, *x.sizes)
        grid = blocks(tokens, made.rows), heads, rows
        made.run("sigmoid_queries_backward", grid, arguments, _room(made))
        d_states, d_cached = _states_backward(made, x, dy)
        d_online = _online_backward(made, x, d_base)
        gates = AnswerGates(d_online, d_cached, d_base.sum(axis=(0, 1)))
        return SigmoidGradient(dq, d_reads, d_states, gates)

    def _size(self, q: Array, reads: Array, checkpoints: Array) -> int:
        """P, also where there is no checkpoint to tell."""
        inside = self.rule.kind == "swla"
        return int(checkpoints.shape[-1]) or (q.shape[-1] + inside) * (reads.shape[-1] + inside)


class SigmoidPlan(Plan):
    """A plan whose blocks have more threads where they have 64 tokens: see cuda/factor.cuh."""

    @property
    def threads(self) -> int:
        """Of a block."""
        return 256 if self.rows == 64 else 2 * self.rows


def sigmoid_layer(device: Device, rule: Recurrence) -> SigmoidLayer | None:
    """The readout in kernels, for reads that are linear and of matrices."""
    if not is_matrix(rule) or not rule.linear_read:
        return None
    return SigmoidLayer(device, rule)


def _states_backward(made: Plan, x: SigmoidSaved, dy: Array) -> tuple[Array, Array]:
    """Gradients of the checkpoints and of `cached`."""
    rows, _, heads = x.lead
    columns, width, sight = x.states.shape[1], x.form.values, x.sight
    d_states = made.array(x.states.shape, zero=True)
    parts = made.array((rows, columns, heads, width, width))
    seen = (sight.first, sight.last, sight.begin, sight.end)
    given = (x.q, x.states, x.gates.cached, x.base, *seen, dy)
    made.run("sigmoid_states_backward", (columns, heads, rows), (*given, d_states, parts, *x.sizes),
             _room(made, 4 * made.rows))  # fmt: skip
    return d_states, parts.sum(axis=(0, 1))


def _online_backward(made: Plan, x: SigmoidSaved, d_base: Array) -> Array:
    """Gradient of `online`."""
    (rows, tokens, heads), width = x.lead, x.form.values
    many = blocks(tokens, BLOCKS * made.rows)
    parts = made.array((rows, many, heads, width, width))
    arguments = (x.reads, d_base, parts, tokens, heads, width, BLOCKS)
    wide = made.rows * (made.values + 8)
    made.run("sigmoid_online_backward", (many, heads, rows), arguments, made.bytes(wide, wide))
    whole: Array = parts.sum(axis=(0, 1))
    return whole


def _room(made: Plan, more: int = 0) -> int:
    """Shared memory of the kernels that go through checkpoints."""
    wide, gate, state = (
        made.rows * row(made.values),
        _factor(made, made.values),
        _factor(made, made.keys),
    )
    queries = made.rows * row(made.keys) + more
    return made.bytes(queries, wide, wide, gate, state, integers=2 * made.rows)


def _factor(made: Plan, depth: int) -> int:
    """`factor_room` in cuda/factor.cuh."""
    wide = made.values + 8
    if max(made.keys, made.values) <= 64:
        return depth * wide
    part = 16 if made.keys % 32 or made.values % 32 else 32
    return max(part * wide, depth * row(part))


def _plan(device: Device, q: Array, form: Anatomy) -> SigmoidPlan:
    return SigmoidPlan(*plan(device, "sigmoid_read", q, form.keys, form.values))
