"""Gates of one token: logits of all checkpoints by one product, then a softmax or a choice."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import add_product
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
    """Logits of the checkpoints, in `work.logits`; and the online memory's, with this token's key."""
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
    for panel in range((books[at.COUNT] + at.PANEL - 1) // at.PANEL):
        logits = work.logits[panel * at.PANEL : (panel + 1) * at.PANEL]
        logits[:] = 0
        add_product(memory.contexts[b, h, panel], u, logits)
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
    """What a checkpoint counts for among `held`, the oldest having age 0, before `cached_weight`."""
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
        for age in range(held):
            _enter(work.lots[age], (head + age) % held, work)
    else:
        for slot in range(head, held):
            _enter(work.logits[slot], slot, work)
        for slot in range(head):
            _enter(work.logits[slot], slot, work)
    for r in range(work.chosen.shape[0]):
        work.best[r] = work.logits[work.chosen[r]]


@device
def _enter(score: Any, slot: int, work: Any) -> None:
    """Put a checkpoint among the chosen, if it is better than the last of them."""
    scores, chosen = work.scores, work.chosen
    place = scores.shape[0] - 1
    if not score > scores[place]:
        return
    while place > 0 and scores[place - 1] < score:
        scores[place], chosen[place] = scores[place - 1], chosen[place - 1]
        place -= 1
    scores[place], chosen[place] = score, slot
