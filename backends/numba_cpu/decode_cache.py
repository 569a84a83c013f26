"""The end of a segment: its state becomes a checkpoint, in the place of the oldest if there are
as many as may be held."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import number, store_row
from mcore.backends.numba_cpu.decode_gates import age_weight
from mcore.backends.numba_cpu.elementwise import exp
from mcore.recurrence.mlstm import LARGEST

_ABOVE = 1 + 2.0**-20
"""What norms are rounded up by, so that bounds made of them hold."""


@device
def close(place: Any, memory: Any, work: Any) -> None:
    """Make the open segment a checkpoint, if checkpoints are read at all."""
    books = memory.books[place]
    if memory.plan[at.FORM] != at.ALONE:
        slots = memory.codes.shape[2]
        full = books[at.COUNT] == slots
        slot = books[at.HEAD] if full else books[at.COUNT]
        mixes = memory.plan[at.FORM] == at.MIXED
        if mixes and full:
            _take_out_oldest(place, memory)
        _store(place, slot, memory)
        _set_context(place, slot, memory)
        if full:
            books[at.HEAD] = (slot + 1) % slots
        else:
            books[at.COUNT] += 1
        if mixes and full and books[at.HEAD] == 0:
            mix(place, memory)
        elif mixes:
            _put_in_newest(place, slot, memory)
    books[at.LENGTH] = 0


@device
def _store(place: Any, slot: int, memory: Any) -> None:
    state, codes = memory.online[place], memory.codes[place][slot]
    for i in range(state.shape[0]):
        scale = store_row(state[i], codes[i])
        if memory.scales.size:
            memory.scales[place][slot, i] = scale
    describe(place, slot, memory)


@device
def describe(place: Any, slot: int, memory: Any) -> None:
    """The norm of a stored checkpoint where some may be skipped, and its least denominator."""
    keys, values = memory.plan[at.ASKED], memory.plan[at.VALUES]
    codes, like, total = memory.codes[place][slot], memory.online[place][0, 0], 0.0
    for i in range(keys if memory.reals[2] >= 0 else 0):
        row, part = codes[i], 0.0
        for j in range(values):
            x = np.float64(number(row[j], like))
            part += x * x
        scale = np.float64(_scale(place, slot, i, memory))
        total += part * scale * scale
    memory.norms[place][slot] = np.sqrt(total) * _ABOVE
    if memory.floors.size:
        lowest = number(codes[keys, 0], like) * _scale(place, slot, keys, memory)
        memory.floors[place][slot] = exp(min(-lowest, memory.online.dtype.type(LARGEST)))


@device
def _scale(place: Any, slot: int, row: int, memory: Any) -> Any:
    return memory.scales[place][slot, row] if memory.scales.size else memory.online.dtype.type(1)


@device
def _set_context(place: Any, slot: int, memory: Any) -> None:
    if not memory.contexts.size:
        return
    b, h = place
    keys, panel, column = memory.keys[place], slot // at.PANEL, slot % at.PANEL
    tokens = keys.dtype.type(1 if memory.plan[at.SUMS] else memory.books[b, h, at.LENGTH])
    for i in range(keys.shape[0]):
        memory.contexts[b, h, panel, i, column] = keys[i] / tokens
        keys[i] = 0


@device
def mix(place: Any, memory: Any) -> None:
    """The weighted sum of all checkpoints, from scratch."""
    held, head = memory.books[place][at.COUNT], memory.books[place][at.HEAD]
    memory.total[place][:] = 0
    for age in range(held):
        _add(place, (head + age) % held, age_weight(memory, held, age), memory)
    _set_mixture(place, memory)


@device
def _take_out_oldest(place: Any, memory: Any) -> None:
    """The sum without the oldest of at least two; the next one then has the oldest's weight."""
    held, head = memory.books[place][at.COUNT], memory.books[place][at.HEAD]
    weight = age_weight(memory, held, 0)
    _add(place, head, -weight, memory)
    if memory.plan[at.WEIGHTS] == at.FADING:
        next_oldest = (head + 1) % held
        _add(place, next_oldest, weight, memory)


@device
def _put_in_newest(place: Any, slot: int, memory: Any) -> None:
    held, total = memory.books[place][at.COUNT], memory.total[place]
    if memory.plan[at.WEIGHTS] == at.FADING:
        for i in range(total.shape[0]):
            for j in range(total.shape[1]):
                total[i, j] *= 1.0 - memory.reals[1]
    _add(place, slot, age_weight(memory, held, held - 1), memory)
    _set_mixture(place, memory)


@device
def _add(place: Any, slot: int, weight: Any, memory: Any) -> None:
    """Add a checkpoint times `weight` to the sum."""
    codes, total, like = memory.codes[place][slot], memory.total[place], memory.online[place][0, 0]
    for i in range(total.shape[0]):
        factor = weight * _scale(place, slot, i, memory)
        row, sums = codes[i], total[i]
        for j in range(row.shape[0]):
            sums[j] += factor * number(row[j], like)


@device
def _set_mixture(place: Any, memory: Any) -> None:
    total, mixture = memory.total[place], memory.mixture[place]
    for i in range(total.shape[0]):
        for j in range(total.shape[1]):
            mixture[i, j] = total[i, j]
