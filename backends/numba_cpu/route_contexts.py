"""Contexts: running means, or sums, of the keys of each segment."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.caching import device


@device
def load_contexts(cached: Any, b: int, h: int, contexts_t: Any) -> None:
    """Contexts of the state's checkpoints, as columns."""
    for i in range(cached.shape[1]):
        for j in range(cached.shape[3]):
            contexts_t[j, i] = cached[b, i, h, j]


@device
def start_sums(x: Any, place: Any, sums: Any) -> int:
    """Key sum with which segment `place` = (b, h, s) begins, and its number of tokens."""
    b, h, s = place
    for j in range(sums.shape[0]):
        sums[j] = x.before[b, h, j] if s == 0 else 0
    return x.offset[b] if s == 0 else 0


@device
def divisor(x: Any, count: int) -> Any:
    """What the sum of `count` keys is divided by to give a context."""
    return x.u.dtype.type(1 if x.sums else count)


@device
def pool_segment(x: Any, place: Any, work: Any, contexts: Any) -> None:
    """Online logits of the segment's tokens, and its context."""
    b, h, s = place
    sums, count = work.sums, start_sums(x, place, work.sums)
    scale = 1 / np.sqrt(x.u.dtype.type(x.u.shape[3]))
    for t in range(x.bounds[b, s], x.bounds[b, s + 1]):
        count += 1
        logit = x.u.dtype.type(0)
        for j in range(sums.shape[0]):
            sums[j] += x.keys[b, t, h, j]
            logit += sums[j] * x.u[b, t, h, j]
        work.online[t] = logit * scale / divisor(x, count)
    column = x.cached.shape[1] + s
    for j in range(sums.shape[0]):
        contexts[b, s, h, j] = sums[j] / divisor(x, count)
        if column < work.contexts_t.shape[1]:
            work.contexts_t[j, column] = contexts[b, s, h, j]
