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
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gelu_vector import gelu_slope
from mcore.backends.numba_cpu.highest import highest_of


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
    descend_in(state, rates, (work.k, down[:width]), work)
    descend_out(state, rates, (work.again, scratch[HIDDEN][:width]))
    excite(stack, first, work.q, scratch[BEFORE], work)


@device
def reply_memora(token: Any, place: Any, memory: Any, work: Any) -> None:
    """What W adds to the query, in `work.answer`."""
    b, h = place
    stack = stacked(memory.online, memory.scales, work.q.shape[0])
    reply(stack, (b * memory.online.shape[1] + h) * 4 + 1, token.scratch[place][HIDDEN], work)


@device
def descend_in(state: Any, rates: Any, sides: Any, work: Any) -> None:
    """`A = a A - step l r^T` of w_in, and W = e^(A - max) / sum by column."""
    (decay, step), (left, right) = rates, sides
    keys, width = left.shape[0], right.shape[0]
    tops, sums = work.other[:width], work.answer[:width]
    for i in range(keys):
        row = state[2 * keys + i, :width]
        _descend(row, (decay, step * left[i]), right)
        if i == 0:
            for e in range(width):
                tops[e], sums[e] = row[e], 0
        else:
            for e in range(width):
                tops[e] = max(tops[e], row[e])
    for i in range(keys):
        _raise(state[2 * keys + i, :width], tops, state[i, :width], sums)
    for e in range(width):
        sums[e] = 1 / sums[e]
    for i in range(keys):
        share = state[i, :width]
        for e in range(width):
            share[e] *= sums[e]


@device
def _descend(row: Any, rates: Any, right: Any) -> None:
    decay, push = rates
    for e in range(right.shape[0]):
        row[e] = decay * row[e] - push * right[e]


@device
def _raise(row: Any, tops: Any, share: Any, sums: Any) -> None:
    """`share = e^(row - top)`, added to the sums."""
    for e in range(tops.shape[0]):
        share[e] = exp(row[e] - tops[e])
        sums[e] += share[e]


@device
def descend_out(state: Any, rates: Any, sides: Any) -> None:
    """`A = a A - step l r^T` of the transpose of w_out, and W by row, each while it is at hand."""
    (decay, step), (left, right) = rates, sides
    keys, width = left.shape[0], right.shape[0]
    for i in range(keys):
        row, share = state[3 * keys + i, :width], state[keys + i, :width]
        _descend(row, (decay, step * left[i]), right)
        top, total = highest_of(row), row.dtype.type(0)
        for e in range(width):
            share[e] = exp(row[e] - top)
            total += share[e]
        scale = 1 / total
        for e in range(width):
            share[e] *= scale
