"""`read` of matrix memories on the device: each state is read once for a block of tokens."""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.anatomy import Anatomy, anatomy
from mcore.backends.cupy_gpu.blocks import COLUMNS, Plan, blocks, plan, row
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.sight import Sight, sight_on
from mcore.recurrence import Recurrence
from mcore.segments import Segments


class ReadSaved(NamedTuple):
    """What `read` keeps: its inputs.

    Attributes:
        q: (B, T, H, K).
        states: (B, C, H, P).
        gates: (B, T, H, C) or None.
        sight: who sees what.
        form: of the states.
    """

    q: Array
    states: Array
    gates: Array | None
    sight: Sight
    form: Anatomy


def read(
    device: Device,
    rule: Recurrence,
    q: Array,
    checkpoints: Array,
    gates: Array | None,
    segments: Segments,
) -> tuple[Array, ReadSaved]:
    """See `mcore.backend.Backend.read`."""
    form = anatomy(rule, q.shape[-1], checkpoints.shape[-1])
    assert form is not None
    return read_as(device, form, q, checkpoints, gates, segments)


def read_as(
    device: Device,
    form: Anatomy,
    q: Array,
    checkpoints: Array,
    gates: Array | None,
    segments: Segments,
) -> tuple[Array, ReadSaved]:
    """`read` of states of this form."""
    rows, tokens, heads, keys = q.shape
    made = plan(device, "read", q, keys, form.values)
    weights = None if gates is None else made.numbers(gates)
    states, sight = made.numbers(checkpoints), sight_on(device, segments)
    x = ReadSaved(made.tokens(q), states, weights, sight, form)
    y = device.xp.empty((rows, tokens, heads, form.values), q.dtype)
    arguments: tuple[Any, ...] = (x.q, states, weights, sight.first, sight.last, y, *_sizes(x))
    shared = made.bytes(made.rows * row(made.keys), integers=2 * made.rows)
    shared += answer_bytes(made, form.divided)
    made.run("read_states", (blocks(tokens, made.rows), heads, rows), arguments, shared)
    return y, x


def read_backward(device: Device, x: ReadSaved, dy: Array) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    rows, tokens, heads, keys = x.q.shape
    made = plan(device, "read", x.q, keys, x.form.values)
    dq, d_states, dy = device.xp.empty_like(x.q), made.array(x.states.shape, True), made.tokens(dy)
    d_gates = None if x.gates is None else made.array(x.gates.shape, True)
    seen = (x.sight.first, x.sight.last)
    arguments: tuple[Any, ...] = (x.q, x.states, x.gates, *seen, dy, dq, d_gates, *_sizes(x))
    both = made.rows * row(made.keys), made.rows * row(made.values)
    shared = made.bytes(*both, integers=2 * made.rows) + backward_bytes(made, x.form.divided)
    grid = blocks(tokens, made.rows), heads, rows
    made.run("read_queries_backward", grid, arguments, shared)
    span = (x.sight.begin, x.sight.end)
    arguments = (x.q, x.states, x.gates, *seen, *span, dy, d_states, *_sizes(x))
    grid = x.states.shape[1], heads, rows
    made.run("read_states_backward", grid, arguments, state_bytes(made, x.form.divided))
    return dq, d_states, d_gates


def answer_bytes(made: Plan, divided: bool) -> int:
    """Shared memory of `answer_room` in cuda/answers.cuh."""
    pairs, vectors = made.rows * row(COLUMNS), COLUMNS * row(made.keys)
    return made.bytes(pairs, made.slab * (made.values + 8), *_if(divided, vectors, pairs))


def backward_bytes(made: Plan, divided: bool) -> int:
    """Shared memory of `backward_room` in cuda/answers.cuh."""
    pairs, vectors = made.rows * row(COLUMNS), COLUMNS * row(made.keys)
    state = made.slab * row(made.values)
    return made.bytes(pairs, pairs, state, *_if(divided, vectors, pairs))


def state_bytes(made: Plan, needs_answers: bool) -> int:
    """Shared memory of `state_room` in cuda/states_backward.cuh."""
    rows, keys, values = made.rows, made.keys, made.values
    more = _if(needs_answers, made.slab * row(values), 2 * keys, rows, rows, keys)
    return made.bytes(rows * (keys + 8), rows * (values + 8), rows, *more, integers=2 * rows)


def _if(wanted: bool, *counts: int) -> tuple[int, ...]:
    return counts if wanted else ()


def _sizes(x: ReadSaved) -> tuple[Any, ...]:
    _, tokens, heads, keys = x.q.shape
    form, columns = x.form, x.states.shape[1]
    return tokens, heads, keys, form.values, columns, form.size, form.stride, form.divided


READ = Pair(read, read_backward)
"""For the rules that have an `Anatomy`."""
