"""Reads of one token whose gates are made of the answers (readout `sigmoid`):

    g_i = sigmoid(o W_online + bias + o_i W_cached)      y = o + sum_i g_i * o_i

with o the online memory's answer and o_i a checkpoint's. Kernels take the three parameters behind
the entries of a token; without them they are compiled without all this.
"""

from typing import Any, NamedTuple

from numba.extending import overload

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import EXACT, device
from mcore.backends.numba_cpu.decode_codes import Asked, add_answers, borrowed, clear
from mcore.backends.numba_cpu.decode_read import divide
from mcore.backends.numba_cpu.elementwise import sigmoid
from mcore.backends.numba_cpu.gemm import FULL, gemm
from mcore.backends.numba_cpu.matvec import transposed_times


class Gates(NamedTuple):
    """What makes gates of answers, and scratch.

    Attributes:
        online, cached, bias: the parameters.
        base: (P,) what all gates of a token share.
        answers, logits: (GATED_ROWS, P) of some checkpoints.
    """

    online: Any
    cached: Any
    bias: Any
    base: Any
    answers: Any
    logits: Any


def gates_of(parameters: Any, memory: Any, work: Any) -> Any:
    """Parameters, uncounted, with scratch that `space` has behind the logits; () if there are none.

    Shared by all tasks of a thread.
    """
    raise NotImplementedError


@overload(gates_of, jit_options=EXACT)
def _gates_of(parameters: Any, memory: Any, work: Any) -> Any:
    return _laid_out if len(parameters) else _none


def read_gated(gates: Any, place: Any, memory: Any, work: Any) -> None:
    """Add the gated answers of matrix or vector checkpoints to o in `work.y`, if gates are made."""
    raise NotImplementedError


@overload(read_gated, jit_options=EXACT)
def _read_gated(gates: Any, place: Any, memory: Any, work: Any) -> Any:
    return _read if len(gates) else _nothing


def _none(parameters: Any, memory: Any, work: Any) -> Any:
    return ()


def _nothing(gates: Any, place: Any, memory: Any, work: Any) -> Any:
    return None


def _laid_out(parameters: Any, memory: Any, work: Any) -> Any:
    online, cached, bias = parameters
    padded, slots = work.y.shape[0], memory.codes.shape[2]
    numbers = work.logits[(slots + at.PANEL - 1) // at.PANEL * at.PANEL :]
    size = at.GATED_ROWS * padded
    answers, logits = numbers[padded : padded + size], numbers[padded + size : padded + 2 * size]
    return Gates(
        borrowed(online),
        borrowed(cached),
        borrowed(bias),
        numbers[:padded],
        answers.reshape((at.GATED_ROWS, padded)),
        logits.reshape((at.GATED_ROWS, padded)),
    )


@device
def share(gates: Any, h: int, values: int, work: Any) -> None:
    """What all gates of a token share."""
    transposed_times(gates.online[h], work.y[:values], gates.base[:values])
    for j in range(values):
        gates.base[j] += gates.bias[h, j]


@device
def add_gated(gates: Any, h: int, count: int, values: int, y: Any) -> None:
    """Add the first `count` of `gates.answers` to y, gated."""
    gemm(gates.answers[:count, :values], gates.cached[h], gates.logits, 1.0, 0, FULL)
    for r in range(count):
        said, logits = gates.answers[r], gates.logits[r]
        for j in range(values):
            y[j] += sigmoid(gates.base[j] + logits[j]) * said[j]


def _read(gates: Any, place: Any, memory: Any, work: Any) -> Any:
    values, held = memory.plan[at.VALUES], memory.books[place][at.COUNT]
    share(gates, place[1], values, work)
    for begin in range(0, held, at.GATED_ROWS):
        count = min(at.GATED_ROWS, held - begin)
        for r in range(count):
            _ask(place, begin + r, gates.answers[r], memory, work)
        add_gated(gates, place[1], count, values, work.y)


@device
def _ask(place: Any, slot: int, said: Any, memory: Any, work: Any) -> None:
    """What a checkpoint answers, divided if the rule wants it."""
    b, h = place
    first = (b * memory.codes.shape[1] + h) * memory.codes.shape[2] + slot
    clear(said)
    add_answers(memory.codes, Asked(first, 1, work.one, 0, work.q, memory.scales), said)
    if memory.plan[at.DIVIDED]:
        floor = memory.floors[b, h, slot] if memory.floors.size else work.one[0]
        weight = divide(said[: memory.plan[at.WIDTH]], memory.plan[at.DIVIDED], floor)
        for j in range(said.shape[0]):
            said[j] *= weight
