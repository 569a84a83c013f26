"""Gates of one token: logits of all checkpoints by one product, then a softmax or a choice."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import Asked, add_answers, clear
from mcore.backends.numba_cpu.elementwise import softmax_row
from mcore.backends.numba_cpu.selection import draw_lots


@device
def gates(token: Any, place: Any, memory: Any, work: Any) -> Any:
    """Leave the gates of the checkpoints in `work.logits`; returns the online memory's.

    Where a choice has to be made, they are in `work.best`, for the slots in `work.chosen`.
    """
    b, h = place
    plan, held = memory.plan, memory.books[b, h, at.COUNT]
    if plan[at.WEIGHTS] != at.ROUTED:
        return _constant(memory, place, work.logits[:held])
    online = _logits(token, place, memory, work)
    seen = work.logits[:held]
    if 0 < plan[at.TOP_K] < held:
        _choose(memory, place, work)
        seen = work.best
    if not plan[at.OUTSIDE]:
        return softmax_row(seen, online)
    if held > 0:
        softmax_row(seen, work.u.dtype.type(-np.inf))
    return work.u.dtype.type(1)


@device
def _logits(token: Any, place: Any, memory: Any, work: Any) -> Any:
    """Logits of the checkpoints, in `work.logits`; and the online memory's, this token included."""
    b, h = place
    books, keys, u = memory.books[b, h], memory.keys[b, h], work.u
    scale = u.dtype.type(memory.reals[0])
    if token.temperature.size:
        scale *= token.temperature[h]
    online = scale * 0
    for i in range(u.shape[0]):
        keys[i] += work.k[i]
        u[i] = scale * token.u[b, 0, h, i]
        online += keys[i] * u[i]
    if not memory.plan[at.SUMS]:
        online /= u.dtype.type(books[at.LENGTH] + 1)
    first = (b * memory.books.shape[1] + h) * memory.contexts.shape[2]
    for panel in range((books[at.COUNT] + at.PANEL - 1) // at.PANEL):
        logits = work.logits[panel * at.PANEL : (panel + 1) * at.PANEL]
        clear(logits)
        asked = Asked(first + panel, 1, work.one, 0, u, memory.scales)
        add_answers(memory.contexts, asked, logits)
    return online


@device
def _constant(memory: Any, place: Any, weights: Any) -> Any:
    """Weights that do not look at the token, by the age of the checkpoints."""
    held, head = weights.shape[0], memory.books[place][at.HEAD]
    for age in range(held):
        slot = (head + age) % held
        weights[slot] = cached_weight(memory, held) * age_weight(memory, held, age)
    return weights.dtype.type(online_weight(memory, held))


@device
def online_weight(memory: Any, held: int) -> Any:
    """What the online memory counts for beside `held` checkpoints."""
    if memory.plan[at.WEIGHTS] == at.UNIFORM:
        return 1.0 / (held + 1)
    if memory.plan[at.WEIGHTS] == at.FADING and held > 0:
        return memory.reals[1]
    return 1.0


@device
def cached_weight(memory: Any, held: int) -> Any:
    """What the weights of all checkpoints are multiplied by."""
    if memory.plan[at.WEIGHTS] == at.UNIFORM:
        return 1.0 / (held + 1)
    if memory.plan[at.WEIGHTS] == at.FADING:
        return 1.0 - memory.reals[1]
    return 1.0


@device
def age_weight(memory: Any, held: int, age: int) -> Any:
    """What a checkpoint counts for among `held`, the oldest being 0, before `cached_weight`."""
    if memory.plan[at.WEIGHTS] != at.FADING:
        return 1.0
    rate = memory.reals[1]
    return (1.0 - rate) ** (held - 1 - age) * (1.0 if age == 0 else rate)


@device
def _choose(memory: Any, place: Any, work: Any) -> None:
    """The `top_k` best checkpoints by logit or by lot, oldest first among equals."""
    b, h = place
    plan, books = memory.plan, memory.books[b, h]
    held, head = books[at.COUNT], books[at.HEAD]
    for r in range(work.chosen.shape[0]):
        work.scores[r], work.chosen[r] = -np.inf, (head + r) % held
    if plan[at.LOTS]:
        draw_lots(plan[at.SEED], books[at.POSITION], h, work.lots[:held])
        _enter(work.lots[: held - head], head, work)
        _enter(work.lots[held - head : held], 0, work)
    else:
        _enter(work.logits[head:held], head, work)
        _enter(work.logits[:head], 0, work)
    for r in range(work.chosen.shape[0]):
        work.best[r] = work.logits[work.chosen[r]]


@device
def _enter(scores: Any, first: int, work: Any) -> None:
    """Put those of the slots from `first` on among the chosen that are better than the last."""
    top = work.scores
    for begin in range(0, scores.shape[0], at.PANEL):
        part, better = scores[begin : begin + at.PANEL], 0
        least = part.dtype.type(top[-1])
        for i in range(part.shape[0]):
            better += part[i] > least
        for i in range(part.shape[0] if better else 0):
            if part[i] > top[-1]:
                _insert(part[i], first + begin + i, work)


@device
def _insert(score: Any, slot: int, work: Any) -> None:
    top, chosen = work.scores, work.chosen
    place = top.shape[0] - 1
    while place > 0 and top[place - 1] < score:
        top[place], chosen[place] = top[place - 1], chosen[place - 1]
        place -= 1
    top[place], chosen[place] = score, slot
