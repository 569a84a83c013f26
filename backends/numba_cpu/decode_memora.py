"""A token of Memora, in place: A descends, and W is its softmax along the inputs."""

from typing import Any

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import Asked
from mcore.backends.numba_cpu.decode_deep_read import excite, reply
from mcore.backends.numba_cpu.decode_deep_work import (
    BEFORE,
    DOWN,
    HIDDEN,
    SLOPE,
    stacked,
)
from mcore.backends.numba_cpu.decode_dots import add_dots
from mcore.backends.numba_cpu.elementwise import exp, row_max
from mcore.backends.numba_cpu.gelu_vector import gelu_slope

_STRIPE = 64
"""Columns of w_in that are done with at once: of A and of W they stay in the fastest cache."""


@device
def write_memora(token: Any, place: Any, memory: Any, work: Any) -> None:
    """A and W after a token, and what the query excites."""
    b, h = place
    state, scratch = memory.online[b, h], token.scratch[b, h]
    keys, width = work.q.shape[0], memory.plan[at.WIDTH]
    stack = stacked(memory.online, memory.scales, keys)
    first = (b * memory.online.shape[1] + h) * 4
    excite(stack, first, work.k, scratch[BEFORE], work)
    gelu_slope(scratch[BEFORE], scratch[HIDDEN], scratch[SLOPE])
    for i in range(keys):
        work.again[i] = work.k[i] - token.v[b, 0, h, i]
    hidden = Asked(first + 1, 1, work.one, 0, scratch[HIDDEN], stack.scales)
    add_dots(stack.matrices, hidden, work.again)
    excite(stack, first + 1, work.again, scratch[DOWN], work)
    down, slope = scratch[DOWN], scratch[SLOPE]
    for e in range(down.shape[0]):
        down[e] *= slope[e]
    rates = work.decays[0], token.step[b, 0, h]
    descend_in(state, rates, (work.k, down[:width]), work.other)
    descend_out(state, rates, (work.again, scratch[HIDDEN][:width]))
    excite(stack, first, work.q, scratch[BEFORE], work)


@device
def reply_memora(token: Any, place: Any, memory: Any, work: Any) -> None:
    """What W adds to the query, in `work.answer`."""
    b, h = place
    stack = stacked(memory.online, memory.scales, work.q.shape[0])
    reply(stack, (b * memory.online.shape[1] + h) * 4 + 1, token.scratch[place][HIDDEN], work)


@device
def descend_in(state: Any, rates: Any, sides: Any, tops: Any) -> None:
    """`A = a A - step l r^T` of w_in, and W = e^(A - max) / sum by column; tops is scratch."""
    (decay, step), (left, right) = rates, sides
    keys = left.shape[0]
    for begin in range(0, right.shape[0], _STRIPE):
        end = min(begin + _STRIPE, right.shape[0])
        part, top = right[begin:end], tops[begin:end]
        for i in range(keys):
            row, push = state[2 * keys + i, begin:end], step * left[i]
            _descend(row, (decay, push), part)
            _raise_tops(row, top, i == 0)
        _columns_softmax(state, (begin, end), top)


@device
def _descend(row: Any, rates: Any, right: Any) -> None:
    decay, push = rates
    for e in range(right.shape[0]):
        row[e] = decay * row[e] - push * right[e]


@device
def _raise_tops(row: Any, top: Any, first: bool) -> None:
    if first:
        for e in range(top.shape[0]):
            top[e] = row[e]
    else:
        for e in range(top.shape[0]):
            top[e] = max(top[e], row[e])


@device
def _columns_softmax(state: Any, columns: Any, top: Any) -> None:
    """W of some columns of w_in; `top`, their largest numbers, is used up."""
    begin, end = columns
    keys = state.shape[0] // 4
    for i in range(keys):
        row, share = state[2 * keys + i, begin:end], state[i, begin:end]
        for e in range(top.shape[0]):
            share[e] = exp(row[e] - top[e])
    for e in range(top.shape[0]):
        top[e] = 0
    for i in range(keys):
        share = state[i, begin:end]
        for e in range(top.shape[0]):
            top[e] += share[e]
    for e in range(top.shape[0]):
        top[e] = 1 / top[e]
    for i in range(keys):
        share = state[i, begin:end]
        for e in range(top.shape[0]):
            share[e] *= top[e]


@device
def descend_out(state: Any, rates: Any, sides: Any) -> None:
    """`A = a A - step l r^T` of the transpose of w_out, and W by row, each while it is at hand."""
    (decay, step), (left, right) = rates, sides
    keys, width = left.shape[0], right.shape[0]
    for i in range(keys):
        row, share = state[3 * keys + i, :width], state[keys + i, :width]
        _descend(row, (decay, step * left[i]), right)
        top, total = row_max(row, row[0]), row.dtype.type(0)
        for e in range(width):
            share[e] = exp(row[e] - top)
        for e in range(width):
            total += share[e]
        scale = 1 / total
        for e in range(width):
            share[e] *= scale
