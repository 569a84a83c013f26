"""Scan of deep memories backwards: segments from the last, each replayed from its checkpoint.

`deep_plan` says which blocks are replayed when, and where the memory before each is kept.
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
from mcore.backends.numba_cpu.deep_plan import NOWHERE, group, is_ready, plan_segment, slots
from mcore.backends.numba_cpu.deep_space import new_block, new_gradient, shape_of
from mcore.backends.numba_cpu.deep_work import DeepInputs, state_rows


class BackwardWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        block, out: a block and its gradients.
        dy: (n, K).
        borders: of the segment's blocks.
        plan: of the segment, see `plan_segment`.
        d_state: (rows, E).
        states: (slots, rows, E) memories before blocks; the first is not used.
    """

    block: Any
    out: Any
    dy: Any
    borders: Any
    plan: Any
    d_state: Any
    states: Any


def backward_work(x: DeepInputs) -> BackwardWork:
    """Work arrays of one thread."""
    shape, rows = shape_of(x, backward=True), state_rows(x)
    longest = int(np.diff(x.bounds, axis=1).max())
    blocks = min(longest, longest // shape.n + longest // x.chunk + 2)
    return BackwardWork(
        new_block(x, shape, group(blocks)), new_gradient(shape), shape.empty(shape.n, shape.keys),
        np.empty(x.q.shape[1] + 1, np.int64), np.empty((3 * blocks, 4), np.int64),
        shape.empty(rows, shape.width), shape.empty(slots(blocks), rows, shape.width),
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
        used = given[2].size > 0
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
    start, lifts = segment_start(x, given[0], at)
    for step in range(plan_segment(count, work.plan)):
        i, source = work.plan[step, 0], work.plan[step, 2]
        state = start if source == 0 else work.states[source]
        status = (lifts or i > 0, used or i < count - 1)
        _step(x, (b, h, s, step), status, (work, given, state), gradients)
    if x.restart[b, s]:
        add(work.d_state[: x.start.shape[1]], gradients.start[b, h])
        clear(work.d_state)
        return False
    return True


@device
def _step(x: Any, at: Any, status: Any, arrays: Any, gradients: Any) -> None:
    """Step `at` = (b, h, s, step) of the plan: a block to the slot after it, or backwards.

    status: of `block_backward`.
    """
    b, h, s, step = at
    work, given, state = arrays
    i, target = work.plan[step, 0], work.plan[step, 3]
    begin, end = work.borders[i], work.borders[i + 1]
    place = (b, h, begin, end - begin)
    block = cut_block(work.block, end - begin, work.plan[step, 1])
    anchor = anchor_row(x, b, s, begin, state)
    if not is_ready(work.plan, step):
        prepare_block(x, place, anchor, state, block)
    if target == NOWHERE:
        block_backward(x, (place, s, anchor), status, (work, given, state, block), gradients)
    else:
        move_on(x, (b, s, anchor), end, status[0], block, (state, work.states[target]))
