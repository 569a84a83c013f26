"""Answers of the checkpoints to one token, as they are stored: neighbours by one product."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import Asked, add_answers, clear
from mcore.backends.numba_cpu.decode_gates import cached_weight
from mcore.recurrence.linear import EPS


@device
def read(place: Any, memory: Any, work: Any) -> None:
    """Add the weighted answers of the checkpoints to `work.y`."""
    held, top = memory.books[place][at.COUNT], memory.plan[at.TOP_K]
    if memory.plan[at.FORM] == at.MIXED:
        _read_mixture(place, memory, work)
    elif 0 < top < held:
        for r in range(top):
            if memory.plan[at.DIVIDED]:
                _add_divided(place, work.chosen[r], work.best[r], memory, work)
            else:
                _add(place, work.chosen[r], r, memory, work)
    elif memory.plan[at.DIVIDED]:
        for slot in range(held):
            _add_divided(place, slot, work.logits[slot], memory, work)
    else:
        _read_runs(place, memory, work)


@device
def divide(answer: Any, way: int, floor: Any) -> Any:
    """What a divided answer, with its denominator last, is multiplied by; `way` as in the plan."""
    last = answer[-1]
    if way == at.FLOORED:
        last = max(abs(last), floor)
    return 1 / (last + answer.dtype.type(EPS))


@device
def _read_mixture(place: Any, memory: Any, work: Any) -> None:
    b, h = place
    work.best[0] = cached_weight(memory, memory.books[b, h, at.COUNT])
    first = b * memory.books.shape[1] + h
    add_answers(memory.mixture, Asked(first, 1, work.best, 0, work.q, memory.scales), work.y)


@device
def _add(place: Any, slot: int, gate: int, memory: Any, work: Any) -> None:
    """Add the answer of one checkpoint, weighed by gate number `gate` of `work.best`."""
    b, h = place
    first = (b * memory.codes.shape[1] + h) * memory.codes.shape[2] + slot
    add_answers(memory.codes, Asked(first, 1, work.best, gate, work.q, memory.scales), work.y)


@device
def _add_divided(place: Any, slot: int, gate: Any, memory: Any, work: Any) -> None:
    """Add the answer of one checkpoint, divided as the rule wants it."""
    b, h = place
    first = (b * memory.codes.shape[1] + h) * memory.codes.shape[2] + slot
    answer = work.answer
    clear(answer)
    add_answers(memory.codes, Asked(first, 1, work.one, 0, work.q, memory.scales), answer)
    floor = memory.floors[b, h, slot] if memory.floors.size else gate
    gate *= divide(answer[: memory.plan[at.WIDTH]], memory.plan[at.DIVIDED], floor)
    for j in range(answer.shape[0]):
        work.y[j] += gate * answer[j]


@device
def _read_runs(place: Any, memory: Any, work: Any) -> None:
    """All checkpoints but those that may be left out, neighbours together."""
    b, h = place
    held = memory.books[b, h, at.COUNT]
    allowed = memory.reals[2] / max(held, 1)
    length, skipped, begin = _length(work.q), 0.0, 0
    if allowed < 0:
        _read_run(place, 0, held, memory, work)
        return
    for slot in range(held):
        cost = length * memory.norms[b, h, slot] * abs(work.logits[slot])
        if cost <= allowed:
            skipped += cost
            _read_run(place, begin, slot, memory, work)
            begin = slot + 1
    _read_run(place, begin, held, memory, work)
    work.skipped[0] = max(work.skipped[0], skipped)


@device
def _read_run(place: Any, begin: int, end: int, memory: Any, work: Any) -> None:
    b, h = place
    if begin < end:
        first = (b * memory.codes.shape[1] + h) * memory.codes.shape[2] + begin
        asked = Asked(first, end - begin, work.logits, begin, work.q, memory.scales)
        add_answers(memory.codes, asked, work.y)


@device
def _length(q: Any) -> Any:
    total = 0.0
    for i in range(q.shape[0]):
        total += np.float64(q[i]) * q[i]
    return np.sqrt(total)
