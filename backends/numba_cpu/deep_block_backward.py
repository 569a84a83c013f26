"""Gradients of one block of a deep memory: the lines of forward, each backwards."""

from typing import Any

from mcore.backends.numba_cpu.blocks import (
    add,
    clear,
    copy,
    load_rows,
    store_rows,
    store_scalars,
)
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.deep_answers import ask_hidden
from mcore.backends.numba_cpu.deep_answers_backward import ask_backward, ask_hidden_backward
from mcore.backends.numba_cpu.deep_coefficients import clear_coefficients, coefficients_backward
from mcore.backends.numba_cpu.deep_cut import begins_chunk, cut_gradient
from mcore.backends.numba_cpu.deep_inner import inner_backward
from mcore.backends.numba_cpu.deep_update import advance_backward


@device
def block_backward(x: Any, at: Any, status: Any, arrays: Any, gradients: Any) -> None:
    """Block `at` = (place, segment, anchor), prepared; `work.d_state` moves to before it.

    status: whether there may be a momentum, whether `work.d_state` holds anything but zeros.
    arrays: the work arrays, what is given, the state before the block, the block.
    """
    place, s, anchor = at
    work, given, state, block = arrays
    b, _, begin, n = place
    out, dy = cut_gradient(work.out, n), work.dy[:n]
    load_rows(given[1], place, dy)
    lifts = status[0] and block.moves
    _clear(dy, out)
    if status[1]:
        advance_backward(block, lifts, state, work.d_state, out)
        _fold_anchor(x, (b, s), (begin, begin + n), work.d_state)
    _answers_backward(x, place, lifts, (block, state, work.d_state, dy, given[3]), out)
    if x.extra.size:
        store_rows(out.query, gradients.extra, place)
    _inner_backward(x, anchor, (state, work.d_state), block, out)
    coefficients_backward(block.tokens, block.coefficients, out.coefficients, out)
    _store(out, gradients, place)


@device
def _clear(dy: Any, out: Any) -> None:
    """Zeros to add to; of q, dy."""
    copy(dy, out.q)
    clear(out.k)
    clear(out.pull)
    clear(out.value)
    clear(out.down)
    clear_coefficients(out.coefficients)
    out.gate[:] = 0


@device
def _fold_anchor(x: Any, segment: Any, span: Any, d_state: Any) -> None:
    """Where the chunk begins here and its anchor was used beyond: that is the memory itself."""
    b, s = segment
    begin, end = span
    open_ended = end == x.bounds[b, s + 1] or not begins_chunk(x, b, s, end)
    if x.chunk > 1 and open_ended and begins_chunk(x, b, s, begin):
        rows = x.start.shape[1]
        d_anchor = d_state[d_state.shape[0] - rows :]
        add(d_anchor, d_state)
        clear(d_anchor)


@device
def _answers_backward(x: Any, place: Any, lifts: bool, arrays: Any, out: Any) -> None:
    """Answers are made once more up to their hidden vectors, then followed back."""
    block, state, d_state, dy, d_hidden = arrays
    if x.extra.size:
        load_rows(x.extra, place, block.query.before)
    ask_hidden(block, lifts, state, 1 if x.extra.size else 0)
    ask_backward(block, lifts, (state, d_state), dy, out)
    if d_hidden.size:
        load_rows(d_hidden, place, block.scratch.hidden)
        add(block.scratch.hidden, out.query)
    ask_hidden_backward(block, lifts, (state, d_state), out)


@device
def _inner_backward(x: Any, at: int, states: Any, block: Any, out: Any) -> None:
    """The inner gradients' own, at the rows of the anchor from `at` on."""
    state, d_state = states
    keys = x.q.shape[3]
    memory = (
        state[at : at + keys], state[at + keys : at + 2 * keys],
        d_state[at : at + keys], d_state[at + keys : at + 2 * keys],
    )  # fmt: skip
    inner_backward(x.loss, memory, block.tokens, block.inner, block.scratch, out)


@device
def _store(out: Any, gradients: Any, place: Any) -> None:
    store_rows(out.q, gradients.q, place)
    store_rows(out.k, gradients.k, place)
    store_rows(out.v, gradients.v, place)
    store_scalars(out.step, gradients.step, place)
    store_scalars(out.log_decay, gradients.log_decay, place)
    if gradients.momentum.size:
        store_scalars(out.momentum, gradients.momentum, place)
    if gradients.delta.size:
        store_scalars(out.delta, gradients.delta, place)
    if gradients.gates.size:
        store_scalars(out.gate, gradients.gates, place)
