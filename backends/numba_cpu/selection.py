"""Which checkpoints a token reads: those with the best scores, be they logits or lots."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.caching import device
from mcore.router import GOLDEN, MULTIPLIERS

_GOLDEN, _FIRST, _SECOND = np.uint64(GOLDEN), np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@device
def drop_all_but_best(scores: Any, logits: Any, best: Any) -> None:
    """Set logits to -inf but where the `best.size` largest scores are; ties to the lower index.

    `scores` may be `logits` itself.
    """
    count = best.shape[0]
    best[:] = -np.inf
    for i in range(scores.shape[0]):
        if scores[i] > best[count - 1]:
            place = count - 1
            while place > 0 and best[place - 1] < scores[i]:
                best[place] = best[place - 1]
                place -= 1
            best[place] = scores[i]
    equal = 0
    for i in range(count):
        equal += best[i] == best[count - 1]
    for i in range(scores.shape[0]):
        if scores[i] == best[count - 1] and equal > 0:
            equal -= 1
        elif not scores[i] > best[count - 1]:
            logits[i] = -np.inf


@device
def draw_lots(seed: Any, position: int, head: int, lots: Any) -> None:
    """The lots of the checkpoints that a token sees, the oldest first: see `mcore.router`."""
    drawn = _mix(_mix(_mix(np.uint64(seed)) ^ np.uint64(position)) ^ np.uint64(head))
    for i in range(lots.shape[0]):
        lots[i] = np.float64(_mix(drawn ^ np.uint64(i)) >> _11)


@device
def _mix(z: Any) -> Any:
    """The finaliser of SplitMix64."""
    z = z + _GOLDEN
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)
