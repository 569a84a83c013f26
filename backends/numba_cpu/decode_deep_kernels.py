"""One token through a perceptron that descends, in one call: dla, titans, yaad.

    before = M_in^T k,  hidden = gelu(before),  r = error(k + M_out hidden - v)
    down = gelu'(before) . M_out^T r          at M, the memory before the token or before its chunk
    W_in <- a W_in - step k down^T,   W_out <- a W_out - step r hidden^T

with w_out transposed, as states have it. Titans adds momentum. What is kept is as in
`decode_kernels`.
"""

import math
from typing import Any

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.decode_codes import Asked, borrowed, clear, write_once
from mcore.backends.numba_cpu.decode_deep_read import (
    activate,
    excite,
    finish_deep,
    reply,
)
from mcore.backends.numba_cpu.decode_deep_start import finite, load_token, start_rows
from mcore.backends.numba_cpu.decode_deep_work import (
    BEFORE,
    DOWN,
    HIDDEN,
    SLOPE,
    TOKEN,
    borrowed_deep_token,
    stacked,
)
from mcore.backends.numba_cpu.decode_dots import add_dots
from mcore.backends.numba_cpu.decode_gated import gates_of
from mcore.backends.numba_cpu.decode_kernels import ask_ahead, begins
from mcore.backends.numba_cpu.decode_work import borrowed_memory, work_of
from mcore.backends.numba_cpu.gelu_vector import gelu_slope


@kernel
def decode_deep_kernel(tasks: Any, inputs: Any, given: Any, space: Any, y: Any) -> Any:
    """As `decode_kernel`; `inputs` are the entries of a `DeepToken`."""
    token, memory = borrowed_deep_token(inputs[:TOKEN]), borrowed_memory(given)
    rows = borrowed(tasks[0])
    if not finite(token.decay, rows):
        return False
    heads, work, answers = y.shape[2], work_of(space, memory), borrowed(y)
    gates = gates_of(inputs[TOKEN:], memory, work)
    work.skipped[0] = 0
    for task in range(tasks[1], tasks[2]):
        place = (rows[task // heads], task % heads)
        if task + 1 < tasks[2]:
            ask_ahead((rows[(task + 1) // heads], (task + 1) % heads), memory)
        if begins(place, memory):
            _start(token, place[1], memory.online[place])
        load_token(token, place, work)
        _write(token, place, memory, work)
        _ask(token, place, memory, work)
        weight = activate(token, place, memory, work)
        _reply(token, place, memory, work)
        finish_deep(token, (gates, weight), place, memory, work, answers)
    return True


@device
def _start(token: Any, h: int, state: Any) -> None:
    """The perceptron that all start from; no momentum."""
    start_rows(token, h, state)
    for i in range(2 * token.w_in.shape[1], state.shape[0]):
        clear(state[i])


@device
def _write(token: Any, place: Any, memory: Any, work: Any) -> None:
    """Update the perceptron, and its momentum if there is one."""
    b, h = place
    state, scratch, keys = memory.online[b, h], token.scratch[b, h], work.q.shape[0]
    anchor = _anchor(place, memory, keys)
    _descent(token, place, memory, anchor, work)
    step = token.step[b, 0, h]
    if memory.plan[at.LAW] == at.TITANS:
        rates = work.decays[0], token.momentum[b, 0, h], step
        _lift(state[:keys], state[2 * keys : 3 * keys], rates, work.k, scratch[DOWN])
        halves = state[keys : 2 * keys], state[3 * keys : 4 * keys]
        _lift(halves[0], halves[1], rates, work.again, scratch[HIDDEN])
    else:
        for i in range(keys):
            work.left[i] = -step * work.k[i]
            work.again[i] *= -step
        write_once(state[:keys], work.decays, work.left, scratch[DOWN])
        write_once(state[keys : 2 * keys], work.decays, work.again, scratch[HIDDEN])


@device
def _anchor(place: Any, memory: Any, keys: int) -> int:
    """The row of the memory at which gradients are taken, which is kept where a chunk begins."""
    chunk, state = memory.plan[at.CHUNK], memory.online[place]
    anchor = state.shape[0] - 2 * keys
    if chunk == 1:
        return 0
    if memory.books[place][at.LENGTH] % chunk == 0:
        for i in range(2 * keys):
            row, kept = state[i], state[anchor + i]
            for e in range(row.shape[0]):
                kept[e] = row[e]
    return anchor


@device
def _descent(token: Any, place: Any, memory: Any, anchor: int, work: Any) -> None:
    """Leave r in `work.again`, hidden and down in the token's scratch."""
    b, h = place
    rows, keys, scratch = memory.online.shape[2], work.q.shape[0], token.scratch[b, h]
    stack = stacked(memory.online, memory.scales, keys)
    first = ((b * memory.online.shape[1] + h) * rows + anchor) // keys
    excite(stack, first, work.k, scratch[BEFORE], work)
    gelu_slope(scratch[BEFORE], scratch[HIDDEN], scratch[SLOPE])
    errs = memory.plan[at.LAW] != at.DLA
    for i in range(keys):
        work.again[i] = (work.k[i] if errs else 0) - token.v[b, 0, h, i]
    if errs:
        hidden = Asked(first + 1, 1, work.one, 0, scratch[HIDDEN], stack.scales)
        add_dots(stack.matrices, hidden, work.again)
    if memory.plan[at.LAW] == at.YAAD:
        _clip(token.delta[b, 0, h], work.again)
    excite(stack, first + 1, work.again, scratch[DOWN], work)
    down, slope = scratch[DOWN], scratch[SLOPE]
    for e in range(down.shape[0]):
        down[e] *= slope[e]


@device
def _clip(delta: Any, error: Any) -> None:
    """Scale an error down to length delta if it is longer."""
    square = error.dtype.type(0)
    for i in range(error.shape[0]):
        square += error[i] * error[i]
    length = math.sqrt(square)
    if length > delta:
        for i in range(error.shape[0]):
            error[i] *= delta / length


@device
def _lift(weights: Any, momentum: Any, rates: Any, left: Any, right: Any) -> None:
    """`S = m S - step l r^T`, `W = a W + S`; rates: (a, m, step)."""
    decay, kept, step = rates
    for i in range(left.shape[0]):
        row, pushed, one = weights[i], momentum[i], step * left[i]
        for e in range(right.shape[0]):
            here = kept * pushed[e] - one * right[e]
            pushed[e] = here
            row[e] = decay * row[e] + here


@device
def _ask(token: Any, place: Any, memory: Any, work: Any) -> None:
    """What the query excites."""
    b, h = place
    stack = stacked(memory.online, memory.scales, work.q.shape[0])
    first = (b * memory.online.shape[1] + h) * (memory.online.shape[2] // work.q.shape[0])
    excite(stack, first, work.q, token.scratch[place][BEFORE], work)


@device
def _reply(token: Any, place: Any, memory: Any, work: Any) -> None:
    """What the perceptron adds to the query, in `work.answer`."""
    b, h = place
    stack = stacked(memory.online, memory.scales, work.q.shape[0])
    first = (b * memory.online.shape[1] + h) * (memory.online.shape[2] // work.q.shape[0])
    reply(stack, first + 1, token.scratch[place][HIDDEN], work)
