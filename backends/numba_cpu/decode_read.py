"""Answers of the checkpoints to one token: runs of neighbours by one product, as they are stored."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import add_product
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
            _read_one(place, work.chosen[r], work.best[r], memory, work)
    elif memory.plan[at.DIVIDED]:
        for slot in range(held):
            _read_one(place, slot, work.logits[slot], memory, work)
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
    weight = work.q.dtype.type(cached_weight(memory, memory.books[place][at.COUNT]))
    for i in range(work.q.shape[0]):
        work.weights[i] = weight * work.q[i]
    add_product(memory.mixture[place][: work.q.shape[0]], work.weights, work.y)


@device
def _read_one(place: Any, slot: int, gate: Any, memory: Any, work: Any) -> None:
    """One checkpoint, whose answer may have to be divided."""
    keys, way = work.q.shape[0], memory.plan[at.DIVIDED]
    _set_weights(place, slot, gate, memory, work.q, work.weights[:keys])
    if not way:
        add_product(memory.codes[place][slot, :keys], work.weights, work.y)
        return
    _set_weights(place, slot, gate * 0 + 1, memory, work.q, work.weights[:keys])
    answer = work.answer
    answer[:] = 0
    add_product(memory.codes[place][slot, :keys], work.weights, answer)
    floor = memory.floors[place][slot] if memory.floors.size else gate
    gate *= divide(answer[: memory.plan[at.WIDTH]], way, floor)
    for j in range(answer.shape[0]):
        work.y[j] += gate * answer[j]


@device
def _set_weights(place: Any, slot: int, gate: Any, memory: Any, q: Any, weights: Any) -> None:
    """Of a checkpoint's rows: the gate, the query, and the scale of the row's codes."""
    for i in range(q.shape[0]):
        weights[i] = gate * q[i]
    if memory.scales.size:
        scales = memory.scales[place][slot]
        for i in range(q.shape[0]):
            weights[i] *= scales[i]


@device
def _read_runs(place: Any, memory: Any, work: Any) -> None:
    """All checkpoints but those that may be left out, neighbours together."""
    held, rows = memory.books[place][at.COUNT], memory.online.shape[2]
    allowed = memory.reals[2] / max(held, 1)
    length, skipped, run = _length(work.q), 0.0, 0
    for slot in range(held):
        cost = length * memory.norms[place][slot] * abs(work.logits[slot])
        if cost <= allowed:
            skipped += cost
            _flush(place, slot, run, memory, work)
            run = 0
            continue
        weights = work.weights[run * rows : run * rows + work.q.shape[0]]
        _set_weights(place, slot, work.logits[slot], memory, work.q, weights)
        run += 1
        if run == at.RUN:
            _flush(place, slot + 1, run, memory, work)
            run = 0
    _flush(place, held, run, memory, work)
    work.skipped[0] = max(work.skipped[0], skipped)


@device
def _flush(place: Any, end: int, run: int, memory: Any, work: Any) -> None:
    """Read the `run` checkpoints before slot `end`."""
    if run == 0:
        return
    rows, padded = memory.online.shape[2:]
    codes = memory.codes[place][end - run : end].reshape(run * rows, padded)
    add_product(codes, work.weights, work.y)


@device
def _length(q: Any) -> Any:
    total = 0.0
    for i in range(q.shape[0]):
        total += np.float64(q[i]) * q[i]
    return np.sqrt(total)
