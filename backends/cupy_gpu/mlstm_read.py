"""Cached reads and soup of a matrix LSTM on the GPU: weights, and a plain read of C.

read    y = sum_i g_i C_i^T q / (max(|n_i . q|, e^-m_i) + eps)
soup    numerators and denominators are mixed, weighed by g_i e^(m_i - m*), then divided
"""

from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.anatomy import Anatomy
from mcore.backends.cupy_gpu.blocks import Plan, blocks, plan, row
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.mlstm_scan import (
    Around,
    Online,
    answered,
    answered_backward,
    run_tokens,
)
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.read import ReadSaved, read_as
from mcore.backends.cupy_gpu.read import read_backward as plain_read_backward
from mcore.backends.cupy_gpu.sight import Sight, sight_on
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Segments

COLUMNS = 32
"""Checkpoints of a block: COLUMNS in cuda/mlstm_read.cu."""


class CachedSaved(NamedTuple):
    """What `read` keeps: of the plain read, and its own inputs."""

    read: ReadSaved
    states: Array
    gates: Array | None


class SoupSaved(NamedTuple):
    """What `soup` keeps.

    Attributes:
        online: the online memory's.
        seen: (B, T, H, V + 1) mixed answers of the checkpoints, or None.
        read: of the plain read that gave them, or None.
        states, gates: (B, C, H, P), (B, T, H, C + 1).
        weight, mixed: (B, T, H) of the online memory; m*.
        sight: who sees what.
    """

    online: Online
    seen: Array | None
    read: ReadSaved | None
    states: Array
    gates: Array
    weight: Array
    mixed: Array
    sight: Sight


def read(
    device: Device,
    rule: Recurrence,
    q: Array,
    checkpoints: Array,
    gates: Array | None,
    segments: Segments,
) -> tuple[Array, CachedSaved]:
    """See `mcore.backend.Backend.read`."""
    form = matrix(q.shape[-1], checkpoints.shape[-1], normalized=False)
    made, sight = _plan(device, q), sight_on(device, segments)
    q, states = made.tokens(q), made.numbers(checkpoints)
    weights = made.array((*q.shape[:3], states.shape[1]), zero=True)
    gates = None if gates is None else made.numbers(gates)
    arrays = (q, states, gates, sight.first, sight.last, weights)
    shared = _bytes(made)
    grid = (blocks(q.shape[1], made.rows), q.shape[2], len(q))
    made.run("mlstm_weights", grid, (*arrays, *_sizes(form, weights)), shared)
    y, saved = read_as(device, form, q, states, weights, segments)
    return y, CachedSaved(saved, states, gates)


def read_backward(
    device: Device, saved: CachedSaved, dy: Array
) -> tuple[Array, Array, Array | None]:
    """See `mcore.backend.Backend.read_backward`."""
    dq, d_states, d_weights = plain_read_backward(device, saved.read, dy)
    assert d_weights is not None
    q, sight, sizes = saved.read.q, saved.read.sight, _sizes(saved.read.form, d_weights)
    made = _plan(device, q)
    d_gates = None if saved.gates is None else made.array(saved.gates.shape, zero=True)
    given = (q, saved.states, saved.gates, d_weights, sight.first, sight.last)
    pairs = made.rows * row(COLUMNS)
    grid = (blocks(q.shape[1], made.rows), q.shape[2], len(q))
    made.run("mlstm_weights_backward", grid, (*given, dq, d_gates, *sizes), _bytes(made, pairs))
    grid = (blocks(d_states.shape[1], COLUMNS), q.shape[2], len(q))
    arrays = (*given, d_states, *sizes)
    made.run("mlstm_states_backward", grid, arrays, _bytes(made, pairs, pairs))
    return dq, d_states, d_gates


def soup(
    device: Device,
    rule: Recurrence,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    cached: tuple[Array, Array],
) -> tuple[Array, SoupSaved]:
    """See `mcore.backend.Backend.soup`."""
    online, _ = answered(device, inputs, carry, segments)
    xp, laid, sight = device.xp, online.layout, sight_on(device, segments)
    states, gates = (xp.ascontiguousarray(x, laid.real) for x in cached)
    form = matrix(laid.shape.keys, states.shape[-1], normalized=True)
    lead = laid.shape[:3]
    weights = xp.zeros((*lead, states.shape[1]), laid.real)
    weight, mixed, seen, saved = laid.empty(*lead), laid.empty(*lead), None, None
    given = (states, online.largest, gates, sight.first, sight.last)
    out = (weights, weight, mixed, *_sizes(form, weights))
    run_tokens(laid, "mlstm_soup.mlstm_shares", (*given, *out))
    if states.shape[1]:
        seen, saved = read_as(device, form, online.x["q"], states, weights, segments)
    y = xp.empty_like(online.x["v"])
    arrays = (online.answers, seen, weight, mixed, y)
    run_tokens(laid, "mlstm_scan.mlstm_divide", (*arrays, online.widths[1]))
    return y, SoupSaved(online, seen, saved, states, gates, weight, mixed, sight)


def soup_backward(
    device: Device, saved: SoupSaved, dy: Array
) -> tuple[dict[str, Array], Array | None, Array, Array]:
    """See `mcore.backend.Backend.soup_backward`."""
    online, states = saved.online, saved.states
    xp, laid, weight, mixed = device.xp, online.layout, saved.weight, saved.mixed
    dy = xp.ascontiguousarray(dy, online.x["v"].dtype)
    d_answers, d_weight, d_mixed = (xp.empty_like(x) for x in (online.answers, weight, mixed))
    d_seen = None if saved.seen is None else xp.empty_like(saved.seen)
    given: tuple[Any, ...] = (online.answers, saved.seen, weight, mixed, dy)
    out: tuple[Any, ...] = (d_answers, d_seen, d_weight, d_mixed, online.widths[1])
    run_tokens(laid, "mlstm_scan.mlstm_divide_backward", (*given, *out))
    dq, d_states = None, xp.zeros_like(states)
    d_weights = xp.zeros((*laid.shape[:3], states.shape[1]), laid.real)
    if saved.read is not None and d_seen is not None:
        dq, d_states, d_weights = plain_read_backward(device, saved.read, d_seen)
    d_gates, d_maxima = xp.zeros_like(saved.gates), xp.zeros_like(d_weights)
    d_largest = xp.empty_like(mixed)
    sight, form = saved.sight, matrix(laid.shape.keys, states.shape[-1], normalized=True)
    given = (states, online.largest, saved.gates, mixed, sight.first, sight.last)
    given = (*given, d_weights, d_weight, d_mixed)
    out = (d_gates, d_maxima, d_largest, *_sizes(form, d_weights))
    run_tokens(laid, "mlstm_soup.mlstm_shares_backward", (*given, *out))
    d_inputs, d_carry = answered_backward(online, Around(d_answers, d_largest, None))
    d_states[..., form.keys * form.stride] = d_maxima.sum(axis=1).swapaxes(1, 2)
    if dq is not None:
        d_inputs["q"] = d_inputs["q"] + dq
    return d_inputs, d_carry, d_states, d_gates


def matrix(keys: int, size: int, normalized: bool) -> Anatomy:
    """C in a checkpoint of `size` numbers, with n as its last column if `normalized`."""
    stride = size // (keys + 1)
    return Anatomy(keys, stride - (not normalized), size, stride, False)


def _plan(device: Device, q: Array) -> Plan:
    return plan(device, "mlstm_read", q, q.shape[-1])


def _bytes(made: Plan, *more: int) -> int:
    """Shared memory of the queries and normalisers of a block, and more."""
    return made.bytes(made.rows * row(made.keys), COLUMNS * row(made.keys), COLUMNS, *more)


def _sizes(form: Anatomy, weights: Array) -> tuple[int, ...]:
    """T, H, K, V, C as the kernels want them."""
    _, tokens, heads, columns = weights.shape
    return tokens, heads, form.keys, form.stride - 1, columns


MLSTM_READ, MLSTM_SOUP = Pair(read, read_backward), Pair(soup, soup_backward)
