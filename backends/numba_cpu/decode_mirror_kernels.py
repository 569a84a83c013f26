"""One token through mirror descent, in one call: moneta, memora. See `decode_deep_kernels`."""

from typing import Any

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.decode_codes import borrowed
from mcore.backends.numba_cpu.decode_deep_read import activate, finish_deep
from mcore.backends.numba_cpu.decode_deep_start import finite, load_token, start_rows
from mcore.backends.numba_cpu.decode_deep_work import TOKEN, borrowed_deep_token
from mcore.backends.numba_cpu.decode_gated import gates_of
from mcore.backends.numba_cpu.decode_kernels import ask_ahead, begins
from mcore.backends.numba_cpu.decode_memora import (
    descend_in,
    descend_out,
    reply_memora,
    write_memora,
)
from mcore.backends.numba_cpu.decode_moneta import INVERSE, reply_moneta, settle, write_moneta
from mcore.backends.numba_cpu.decode_work import borrowed_memory, work_of


@kernel
def decode_mirror_kernel(tasks: Any, inputs: Any, given: Any, space: Any, y: Any) -> Any:
    """As `decode_kernel`; `inputs` are the entries of a `DeepToken`."""
    token, memory = borrowed_deep_token(inputs[:TOKEN]), borrowed_memory(given)
    rows = borrowed(tasks[0])
    if not finite(token.decay, rows):
        return False
    heads, work, answers = y.shape[2], work_of(space, memory), borrowed(y)
    cubes = memory.plan[at.LAW] == at.MONETA
    gates = gates_of(inputs[TOKEN:], memory, work)
    work.skipped[0] = 0
    for task in range(tasks[1], tasks[2]):
        place = (rows[task // heads], task % heads)
        if task + 1 < tasks[2]:
            ask_ahead((rows[(task + 1) // heads], (task + 1) % heads), memory)
        if begins(place, memory):
            _start(token, place, memory, work)
        load_token(token, place, work)
        if cubes:
            write_moneta(token, place, memory, work)
        else:
            write_memora(token, place, memory, work)
        weight = activate(token, place, memory, work)
        if cubes:
            reply_moneta(token, place, memory, work)
        else:
            reply_memora(token, place, memory, work)
        if cubes and memory.closes[place[0]]:
            settle(place, memory)
        finish_deep(token, (gates, weight), place, memory, work, answers)
    return True


@device
def _start(token: Any, place: Any, memory: Any, work: Any) -> None:
    """A as all start from; W of it, or that nothing is known of it."""
    state, keys, width = memory.online[place], memory.plan[at.KEYS], memory.plan[at.WIDTH]
    start_rows(token, place[1], state[2 * keys :])
    if memory.plan[at.LAW] == at.MONETA:
        memory.factors[place][INVERSE] = memory.factors[place][INVERSE + 1] = 0
        return
    # As after a token that changes nothing.
    for i in range(keys):
        work.again[i] = 0
    still, none = work.one[0], work.one[0] * 0
    for e in range(width):
        work.right[e] = 0
    descend_in(state, (still, none), (work.again, work.right[:width]), work)
    descend_out(state, (still, none), (work.again, work.right[:width]))
