"""One token through a matrix memory whose checkpoints are gated by what they answer, in one call:

    o_i = q^T S_i      g_i = sigmoid(o W_online + bias + o_i W_cached)      y = o + sum_i g_i * o_i

with o the online memory's answer. What is written and kept is as in `decode_kernels`.
"""

from typing import Any

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.decode_codes import Asked, add_answers, borrowed, clear
from mcore.backends.numba_cpu.decode_gated_work import ROWS, gates_of, plain_token
from mcore.backends.numba_cpu.decode_kernels import answer, ask_ahead, begin, finite, move_on
from mcore.backends.numba_cpu.decode_laws import load, write
from mcore.backends.numba_cpu.decode_read import divide
from mcore.backends.numba_cpu.decode_work import borrowed_memory, work_of
from mcore.backends.numba_cpu.elementwise import sigmoid
from mcore.backends.numba_cpu.gemm import FULL, gemm
from mcore.backends.numba_cpu.matvec import transposed_times


@kernel
def decode_gated_kernel(tasks: Any, inputs: Any, given: Any, space: Any, y: Any) -> Any:
    """As `decode_kernel`; `inputs` are the entries of a `GatedToken`."""
    token, memory, rows = plain_token(inputs), borrowed_memory(given), borrowed(tasks[0])
    if memory.plan[at.LAW] != at.EXPONENTIAL and not finite(token, rows):
        return False
    heads, work, answers = y.shape[2], work_of(space, memory), borrowed(y)
    gates = gates_of(inputs, memory, work)
    work.skipped[0] = 0
    for task in range(tasks[1], tasks[2]):
        place = (rows[task // heads], task % heads)
        if task + 1 < tasks[2]:
            ask_ahead((rows[(task + 1) // heads], (task + 1) % heads), memory)
        begin(place, memory)
        load(token, place, memory.plan, work)
        write(token, place, memory, work)
        answer(place, work.one[0], memory, work)
        if memory.books[place][at.COUNT] > 0:
            _read(gates, place, memory, work)
        move_on(place, memory, work, answers)
    return True


@device
def _read(gates: Any, place: Any, memory: Any, work: Any) -> None:
    """Add the gated answers of the checkpoints to the online memory's in `work.y`."""
    b, h = place
    values, held = memory.plan[at.VALUES], memory.books[b, h, at.COUNT]
    transposed_times(gates.online[h], work.y[:values], gates.base[:values])
    for j in range(values):
        gates.base[j] += gates.bias[h, j]
    for begin in range(0, held, ROWS):
        count = min(ROWS, held - begin)
        for r in range(count):
            _ask(place, begin + r, gates.answers[r], memory, work)
        gemm(gates.answers[:count, :values], gates.cached[h], gates.logits, 1.0, 0, FULL)
        for r in range(count):
            said, logits = gates.answers[r], gates.logits[r]
            for j in range(values):
                work.y[j] += sigmoid(gates.base[j] + logits[j]) * said[j]


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
