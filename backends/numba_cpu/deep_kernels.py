"""Scan of deep memories: for each row and head, block after block of a segment's chunks."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import clear, copy, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.deep_answers import ask, ask_hidden
from mcore.backends.numba_cpu.deep_coefficients import set_coefficients
from mcore.backends.numba_cpu.deep_cut import begins_chunk, cut_block, cut_segment, load_block
from mcore.backends.numba_cpu.deep_inner import inner_gradient
from mcore.backends.numba_cpu.deep_space import new_block, shape_of
from mcore.backends.numba_cpu.deep_update import advance
from mcore.backends.numba_cpu.deep_work import DeepInputs, state_rows


class Work(NamedTuple):
    """Work arrays of one thread: a block, its answers (n, K), the borders of blocks, two states."""

    block: Any
    y: Any
    borders: Any
    states: Any


def forward_work(x: DeepInputs) -> Work:
    """Work arrays of one thread."""
    shape = shape_of(x, backward=False)
    borders = np.empty(x.q.shape[1] + 1, np.int64)
    states = shape.empty(2, state_rows(x), shape.width)
    return Work(new_block(x, shape, 1), shape.empty(shape.n, shape.keys), borders, states)


@kernel
def scan_kernel(span: Any, x: Any, work: Any, reads: Any, checkpoints: Any, hidden: Any) -> None:
    """Reads (B, T, H, K) and checkpoints (B, S, H, rows, E) for the tasks (row, head) in `span`.

    hidden: (B, T, H, E) receives the perceptrons' hidden vectors, unless it has no elements.
    """
    heads = x.q.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        for s in range(x.restart.shape[1]):
            count = cut_segment(x, b, s, work.y.shape[0], work.borders)
            if count == 0:
                clear(checkpoints[b, s, h])
            else:
                _scan_segment(x, (b, h, s, count), work, checkpoints, (reads, hidden))


@device
def _scan_segment(x: Any, at: Any, work: Any, checkpoints: Any, out: Any) -> None:
    """Segment `at` = (b, h, s, its number of blocks); the last block's state is its checkpoint."""
    b, h, s, count = at
    state, lifts = segment_start(x, checkpoints, (b, h, s))
    for i in range(count):
        after = checkpoints[b, s, h] if i == count - 1 else work.states[i % 2]
        _scan_block(x, (b, h, s, i), lifts or i > 0, work, (state, after), out)
        state = after


@device
def segment_start(x: Any, checkpoints: Any, place: Any) -> Any:
    """The memory with which segment `place` = (b, h, s) starts; whether it may have a momentum.

    If not, it has the perceptron's rows only.
    """
    b, h, s = place
    if x.restart[b, s]:
        return x.start[h], False
    if s > 0:
        return checkpoints[b, s - 1, h], True
    return x.carry[b, h], True


@device
def anchor_row(x: Any, b: int, s: int, begin: int, state: Any) -> int:
    """The first row of the perceptron at which the block from token `begin` on takes gradients."""
    if begins_chunk(x, b, s, begin):
        return 0
    return state.shape[0] - 2 * x.q.shape[3]


@device
def prepare_block(x: Any, place: Any, at: int, state: Any, block: Any) -> None:
    """Tokens, coefficients and inner gradients of the block at `place`, at the rows from `at`."""
    keys = x.q.shape[3]
    load_block(x, place, block.tokens)
    set_coefficients(block.tokens, block.coefficients)
    weights = (state[at : at + keys], state[at + keys : at + 2 * keys])
    inner_gradient(x.loss, weights, block.tokens, block.inner, block.scratch.columns)


@device
def move_on(x: Any, at: Any, end: int, lifts: bool, block: Any, states: Any) -> None:
    """From the state before a block to the one after it, in another array.

    at: (b, s, the anchor's first row). The anchor goes along only where it is still needed: where
    its chunk goes on beyond `end`, or the segment stops there.
    """
    b, s, anchor = at
    source, target = states
    rows = 2 * x.q.shape[3]
    open_ended = end == x.bounds[b, s + 1] or not begins_chunk(x, b, s, end)
    if x.chunk > 1 and open_ended:
        copy(source[anchor : anchor + rows], target[target.shape[0] - rows :])
    advance(block, lifts and block.moves, source, target)


@device
def _scan_block(x: Any, at: Any, lifts: bool, work: Any, states: Any, out: Any) -> None:
    """Block `at` = (b, h, s, i): its answers to `out`, from the state before to the one after."""
    b, h, s, i = at
    state, (reads, hidden) = states[0], out
    begin, end = work.borders[i], work.borders[i + 1]
    place = (b, h, begin, end - begin)
    block, y = cut_block(work.block, end - begin, 0), work.y[: end - begin]
    anchor = anchor_row(x, b, s, begin, state)
    prepare_block(x, place, anchor, state, block)
    if x.extra.size:
        load_rows(x.extra, place, block.query.before)
    ask_hidden(block, lifts and block.moves, state, 1 if x.extra.size else 0)
    ask(block, lifts and block.moves, state, y)
    store_rows(y, reads, place)
    if hidden.size:
        store_rows(block.query.value, hidden, place)
    move_on(x, (b, s, anchor), end, lifts, block, states)
