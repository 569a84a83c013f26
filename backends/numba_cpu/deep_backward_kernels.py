"""Scan of deep memories backwards: segments from the last, each replayed from its checkpoint.

The memory before each block is needed. A segment of few blocks keeps all of them; one of many keeps
every r-th with r about the square root of their number, and replays r at a time.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import add, clear, copy
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.deep_block_backward import block_backward
from mcore.backends.numba_cpu.deep_cut import cut_block, cut_segment
from mcore.backends.numba_cpu.deep_kernels import (
    anchor_row,
    move_on,
    prepare_block,
    segment_start,
)
from mcore.backends.numba_cpu.deep_space import new_block, new_gradient, shape_of
from mcore.backends.numba_cpu.deep_work import DeepInputs, state_rows

FEW = 16


class BackwardWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        block, out: a block and its gradients.
        dy: (n, K).
        borders: of the segment's blocks.
        d_state: (rows, E).
        outer: (groups, rows, E) the state before each group of blocks.
        states: (r, rows, E) the state before each block of a group.
    """

    block: Any
    out: Any
    dy: Any
    borders: Any
    d_state: Any
    outer: Any
    states: Any


def backward_work(x: DeepInputs) -> BackwardWork:
    """Work arrays of one thread."""
    shape, rows = shape_of(x, backward=True), state_rows(x)
    longest = int(np.diff(x.bounds, axis=1).max())
    blocks = longest // shape.n + longest // x.chunk + 2
    r = min(longest, max(FEW, int(blocks**0.5) + 1))
    return BackwardWork(
        new_block(x, shape), new_gradient(shape), shape.empty(shape.n, shape.keys),
        np.empty(x.q.shape[1] + 1, np.int64), shape.empty(rows, shape.width),
        shape.empty(r + 1, rows, shape.width), shape.empty(r, rows, shape.width),
    )  # fmt: skip


@kernel
def scan_backward_kernel(span: Any, x: Any, work: Any, given: Any, gradients: Any) -> None:
    """Gradients for the tasks (row, head) in `span`.

    given: checkpoints, and the gradients of reads, checkpoints and hidden vectors, the last two
    perhaps without elements. gradients.start must hold zeros.
    """
    heads = x.q.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        clear(work.d_state)
        used = False
        for s in range(x.restart.shape[1] - 1, -1, -1):
            if x.bounds[b, s] < x.bounds[b, s + 1]:
                used = _segment_backward(x, (b, h, s), used, (work, given), gradients)
        if x.carry.size:
            copy(work.d_state, gradients.carry[b, h])


@device
def _segment_backward(x: Any, at: Any, used: bool, arrays: Any, gradients: Any) -> bool:
    """Segment `at` = (b, h, s); `work.d_state` goes from its end to its start; is that used?"""
    b, h, s = at
    work, given = arrays
    if given[2].size:
        add(given[2][b, s, h], work.d_state)
        used = True
    count = cut_segment(x, b, s, work.dy.shape[0], work.borders)
    r = count if count <= FEW else int(np.ceil(np.sqrt(count)))
    state, lifts = segment_start(x, given[0], at)
    _replay_groups(x, at, (r, count), (state, lifts), work)
    for first in range((count - 1) // r * r, -1, -r):
        start = (work.outer[first // r], True) if first > 0 else (state, lifts)
        span = (first, min(first + r, count))
        _group_backward(x, (*at, span), used, start, (*arrays, gradients))
        used = True
    if x.restart[b, s]:
        add(work.d_state[: x.start.shape[1]], gradients.start[b, h])
        clear(work.d_state)
        return False
    return True


@device
def _replay_groups(x: Any, at: Any, counts: Any, start: Any, work: Any) -> None:
    """Fill `work.outer`: the state before each group of r blocks, but the first."""
    r, count = counts
    state, lifts = start
    for i in range((count - 1) // r * r):
        after = work.outer[(i + 1) // r] if (i + 1) % r == 0 else work.states[i % 2]
        _replay(x, (*at, i), lifts or i > 0, work, (state, after))
        state = after


@device
def _group_backward(x: Any, at: Any, used: bool, start: Any, arrays: Any) -> None:
    """The blocks of `at` = (b, h, s, (first, end)), from the state before the first of them."""
    b, h, s, (first, end) = at
    state, lifts = start
    work, given, gradients = arrays
    for i in range(first, end - 1):
        after = work.states[i - first]
        _replay(x, (b, h, s, i), lifts or i > first, work, (state, after))
        state = after
    for i in range(end - 1, first - 1, -1):
        state = work.states[i - first - 1] if i > first else start[0]
        status = (lifts or i > first, used or i < end - 1)
        block_backward(x, (b, h, s, i), status, (work, given, state), gradients)


@device
def _replay(x: Any, at: Any, lifts: bool, work: Any, states: Any) -> None:
    """From the state before block `at` = (b, h, s, i) to the one after it."""
    b, h, s, i = at
    begin, end = work.borders[i], work.borders[i + 1]
    block = cut_block(work.block, end - begin)
    anchor = anchor_row(x, b, s, begin, states[0])
    prepare_block(x, (b, h, begin, end - begin), anchor, states[0], block)
    move_on(x, (b, s, anchor), end, lifts, block, states)
