"""Answers of perceptrons to one token, as they are stored: x + gelu(x W_in) W_out."""

from typing import Any

from numba.extending import overload

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import EXACT, device
from mcore.backends.numba_cpu.decode_codes import Asked, add_answers, clear
from mcore.backends.numba_cpu.decode_deep_work import BEFORE, HIDDEN, stacked
from mcore.backends.numba_cpu.decode_dots import add_dots
from mcore.backends.numba_cpu.decode_gated import add_gated, share
from mcore.backends.numba_cpu.decode_kernels import move_on, weigh
from mcore.backends.numba_cpu.gelu_vector import gelu_value


@device
def activate(token: Any, place: Any, memory: Any, work: Any) -> Any:
    """Hidden units from what the query excites in the online memory; returns its weight.

    In a soup, of the mixture: `gelu(sum_i g_i W_in,i^T q)`.
    """
    b, h = place
    weight, scratch = weigh(token, place, memory, work), token.scratch[place]
    if memory.plan[at.FORM] == at.SOUP:
        for e in range(scratch.shape[1]):
            scratch[BEFORE, e] *= weight
        held, first = memory.books[place][at.COUNT], b * memory.codes.shape[1] + h
        first *= memory.codes.shape[2]
        asked = Asked(first, held, work.logits, 0, work.q, memory.scales)
        add_answers(memory.codes, asked, scratch[BEFORE])
    gelu_value(scratch[BEFORE], scratch[HIDDEN])
    return weight


@device
def finish_deep(token: Any, ways: Any, place: Any, memory: Any, work: Any, y: Any) -> None:
    """The output, from what the online memory adds to the query in `work.answer`.

    ways: (`gates_of`, its weight).
    """
    gates, weight = ways
    form, scratch = memory.plan[at.FORM], token.scratch[place]
    kept = work.one[0] if form == at.SOUP else weight
    for i in range(work.q.shape[0]):
        work.y[i] = kept * work.q[i] + weight * work.answer[i]
    if form == at.GATED:
        read_gated_deep(gates, scratch, place, memory, work)
    elif form == at.SOUP:
        _add_mixed(scratch[HIDDEN], place, memory, work)
    elif form != at.ALONE:
        _read_checkpoints(scratch, place, memory, work)
    move_on(place, memory, work, y)


@device
def _add_mixed(hidden: Any, place: Any, memory: Any, work: Any) -> None:
    """`y += sum_i g_i W_out,i^T hidden` over the checkpoints."""
    stack = stacked(memory.codes, memory.scales, memory.plan[at.KEYS])
    for slot in range(memory.books[place][at.COUNT]):
        matrix = _first_matrix(place, slot, memory) + 1
        asked = Asked(matrix, 1, work.logits, slot, hidden, stack.scales)
        add_dots(stack.matrices, asked, work.y)


@device
def reply(stack: Any, matrix: int, hidden: Any, work: Any) -> None:
    """`work.answer = M hidden` for a matrix of a stack."""
    clear(work.answer)
    add_dots(stack.matrices, Asked(matrix, 1, work.one, 0, hidden, stack.scales), work.answer)


def read_gated_deep(gates: Any, scratch: Any, place: Any, memory: Any, work: Any) -> None:
    """As `read_gated`, for checkpoints that are perceptrons."""
    raise NotImplementedError


@overload(read_gated_deep, jit_options=EXACT)
def _read_gated_deep(gates: Any, scratch: Any, place: Any, memory: Any, work: Any) -> Any:
    return _read_gated if len(gates) else _nothing


def _nothing(gates: Any, scratch: Any, place: Any, memory: Any, work: Any) -> Any:
    return None


def _read_gated(gates: Any, scratch: Any, place: Any, memory: Any, work: Any) -> Any:
    values, held = memory.plan[at.VALUES], memory.books[place][at.COUNT]
    share(gates, place[1], values, work)
    stack = stacked(memory.codes, memory.scales, values)
    for begin in range(0, held, at.GATED_ROWS):
        count = min(at.GATED_ROWS, held - begin)
        for r in range(count):
            said = gates.answers[r]
            clear(said)
            matrix = _first_matrix(place, begin + r, memory)
            add_reply(stack, matrix, (work.one, 0, said), scratch, work)
        add_gated(gates, place[1], count, values, work.y)


@device
def _first_matrix(place: Any, slot: int, memory: Any) -> int:
    """Where among the matrices of all checkpoints those of a slot begin."""
    b, h = place
    before = (b * memory.codes.shape[1] + h) * memory.codes.shape[2] + slot
    return before * (memory.codes.shape[3] // memory.plan[at.KEYS])


@device
def excite(stack: Any, matrix: int, x: Any, before: Any, work: Any) -> None:
    """`before = M^T x` for a matrix of a stack."""
    clear(before)
    add_answers(stack.matrices, Asked(matrix, 1, work.one, 0, x, stack.scales), before)


@device
def add_reply(stack: Any, first: int, gates: Any, scratch: Any, work: Any) -> None:
    """`y += g M(q)` for the perceptron whose w_in is matrix `first`; `gates` is (array, place, y).

    The hidden units that q excites are left in `scratch`.
    """
    weights, gate, y = gates
    excite(stack, first, work.q, scratch[BEFORE], work)
    gelu_value(scratch[BEFORE], scratch[HIDDEN])
    for i in range(work.q.shape[0]):
        y[i] += weights[gate] * work.q[i]
    add_dots(stack.matrices, Asked(first + 1, 1, weights, gate, scratch[HIDDEN], stack.scales), y)


@device
def _read_checkpoints(scratch: Any, place: Any, memory: Any, work: Any) -> None:
    """Add the weighted answers of the checkpoints to `work.y`."""
    held, top = memory.books[place][at.COUNT], memory.plan[at.TOP_K]
    stack = stacked(memory.codes, memory.scales, memory.plan[at.KEYS])
    if 0 < top < held:
        for r in range(top):
            matrix = _first_matrix(place, work.chosen[r], memory)
            add_reply(stack, matrix, (work.best, r, work.y), scratch, work)
    else:
        for slot in range(held):
            matrix = _first_matrix(place, slot, memory)
            add_reply(stack, matrix, (work.logits, slot, work.y), scratch, work)
