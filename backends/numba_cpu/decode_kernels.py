"""One token through a memory in one call: update, pool, gates, read, and a segment's end.

A task is a row of a head; nothing is allocated.
"""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.decode_cache import close, describe, mix
from mcore.backends.numba_cpu.decode_codes import borrowed, clear
from mcore.backends.numba_cpu.decode_gated import gates_of, read_gated
from mcore.backends.numba_cpu.decode_gates import gates as set_gates
from mcore.backends.numba_cpu.decode_gates import online_weight
from mcore.backends.numba_cpu.decode_laws import load, write
from mcore.backends.numba_cpu.decode_read import divide, read
from mcore.backends.numba_cpu.decode_work import Token, borrowed_memory, borrowed_token, work_of
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.prefetch import prefetch_later
from mcore.recurrence.mlstm import LARGEST

TOKEN = len(Token._fields)

FETCHED = 1 << 16
"""Most bytes of a memory or of its checkpoints that are asked for ahead: larger ones follow one
another as it is."""


@kernel
def decode_kernel(tasks: Any, inputs: Any, given: Any, space: Any, y: Any) -> Any:
    """y (B, 1, H, V) of some rows; returns whether their log-decays are finite.

    `tasks` are the rows, and which part of (rows x heads) is done: begin and end. `inputs` are the
    entries of a `Token`, and the parameters of `decode_gated` if it is used. If the log-decays are
    not finite, nothing has changed.
    """
    token, memory, rows = borrowed_token(inputs[:TOKEN]), borrowed_memory(given), borrowed(tasks[0])
    if memory.plan[at.LAW] != at.EXPONENTIAL and not _finite(token, rows):
        return False
    heads, work, answers = y.shape[2], work_of(space, memory), borrowed(y)
    gates = gates_of(inputs[TOKEN:], memory, work)
    work.skipped[0] = 0
    for task in range(tasks[1], tasks[2]):
        if task + 1 < tasks[2]:
            ask_ahead((rows[(task + 1) // heads], (task + 1) % heads), memory)
        place = (rows[task // heads], task % heads)
        begin(place, memory)
        load(token, place, memory.plan, work)
        write(token, place, memory, work)
        finish(token, gates, place, memory, work, answers)
    return True


@kernel
def restore_kernel(memory: Any) -> None:
    """What follows from the stored checkpoints: norms, floors, the sum."""
    for b in range(memory.books.shape[0]):
        for h in range(memory.books.shape[1]):
            for slot in range(memory.books[b, h, at.COUNT]):
                describe((b, h), slot, memory)
            if memory.plan[at.FORM] == at.MIXED:
                mix((b, h), memory)


@device
def _finite(token: Any, rows: Any) -> bool:
    for i in range(rows.shape[0]):
        b = rows[i]
        for h in range(token.q.shape[2]):
            if token.decay.size and not np.isfinite(token.decay[b, 0, h]):
                return False
            for j in range(token.decays.shape[3]):
                if not np.isfinite(token.decays[b, 0, h, j]):
                    return False
    return True


@device
def ask_ahead(place: Any, memory: Any) -> None:
    """Ask for what the next of many small memories is read from, unless few checkpoints are."""
    b, h = place
    if memory.online[b, h].size * memory.online.itemsize <= FETCHED:
        prefetch_later(memory.online[b, h])
    if memory.plan[at.FORM] < at.EVERY or memory.plan[at.TOP_K]:
        return
    held, codes = memory.books[b, h, at.COUNT], memory.codes[b, h]
    if held * codes[0].size * codes.itemsize > FETCHED:
        return
    if memory.contexts.size:
        prefetch_later(memory.contexts[b, h, 0])
    for slot in range(held):
        prefetch_later(codes[slot])


@device
def begins(place: Any, memory: Any) -> bool:
    """Whether a segment begins that does not go on from the one before."""
    books = memory.books[place]
    return books[at.LENGTH] == 0 and (books[at.POSITION] == 0 or not memory.plan[at.CARRIES])


@device
def begin(place: Any, memory: Any) -> None:
    """Empty the online memory if a segment begins that does not go on from the one before."""
    if begins(place, memory):
        for row in memory.online[place]:
            clear(row)


@device
def finish(token: Any, gates: Any, place: Any, memory: Any, work: Any, y: Any) -> None:
    """The output, once the token is written and `work.answer` says what the memory answers."""
    weight = weigh(token, place, memory, work)
    answer(place, weight, memory, work)
    if memory.plan[at.FORM] == at.GATED:
        read_gated(gates, place, memory, work)
    elif memory.plan[at.FORM] != at.ALONE and memory.books[place][at.COUNT] > 0:
        read(place, memory, work)
    move_on(place, memory, work, y)


@device
def weigh(token: Any, place: Any, memory: Any, work: Any) -> Any:
    """Gates of the checkpoints, if each is read; returns the online memory's."""
    if memory.plan[at.FORM] == at.EVERY or memory.plan[at.FORM] == at.SOUP:
        weight = set_gates(token, place, memory, work)
        if memory.used.size:
            _count_use(place, memory, work)
        return weight
    if memory.plan[at.FORM] == at.MIXED:
        return work.q.dtype.type(online_weight(memory, memory.books[place][at.COUNT]))
    return work.q.dtype.type(1)


@device
def _count_use(place: Any, memory: Any, work: Any) -> None:
    """What the gates give to each checkpoint, added to what they gave before."""
    used, held, top = memory.used[place], memory.books[place][at.COUNT], memory.plan[at.TOP_K]
    if 0 < top < held:
        for r in range(top):
            used[work.chosen[r]] += work.best[r]
    else:
        for slot in range(held):
            used[slot] += work.logits[slot]


@device
def move_on(place: Any, memory: Any, work: Any, y: Any) -> None:
    """Hand out `work.y`, count the token, and end the segment if it was the last."""
    b, h = place
    for j in range(y.shape[3]):
        y[b, 0, h, j] = work.y[j]
    memory.books[b, h, at.LENGTH] += 1
    memory.books[b, h, at.POSITION] += 1
    if memory.closes[b]:
        close(place, memory, work)


@device
def answer(place: Any, weight: Any, memory: Any, work: Any) -> None:
    """The weighted answer of the online memory, in `work.y`."""
    way = memory.plan[at.DIVIDED]
    if way:
        floor = weight
        if way == at.FLOORED:
            largest = memory.online[place][work.q.shape[0], 0]
            floor = exp(min(-largest, work.q.dtype.type(LARGEST)))
        weight *= divide(work.answer[: memory.plan[at.WIDTH]], way, floor)
    for j in range(work.y.shape[0]):
        work.y[j] = weight * work.answer[j]
