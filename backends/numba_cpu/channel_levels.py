"""How many tokens with decays per channel go into one chunk: as many as their factors allow.

A chunk in matrix form divides by products of decay factors. While no token of it decays a channel
below e^-4 and all of them together not below e^-40, that costs no digit and overflows nowhere; the
chunk is *mild*. Its size is one of three levels, the largest that is mild. Where not even the
smallest is, the next few tokens are *strong*: their rule takes them in a form without divisions.

The choice depends on nothing but the decays, so backward finds the chunks that forward made.
"""

from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.blocks import ROWS
from mcore.backends.numba_cpu.caching import device

STRONG_ROWS = 16
"""Most tokens that are taken at once in a form without divisions."""

STRONG = -1
"""The level of tokens that are not mild."""

_TOKEN, _CHUNK = -4.0, -40.0


def level_rows(bounds: Array) -> Array:
    """Tokens of a chunk at each level, largest first; those of the longest segment equally long."""
    longest = int(np.diff(bounds, axis=1).max())
    rows = -(-longest // -(-longest // ROWS))
    return np.array([rows, -(-rows // 2), -(-rows // 4)])


def most_chunks(bounds: Array) -> int:
    """The largest number of chunks in a segment, whatever its decays."""
    longest = int(np.diff(bounds, axis=1).max())
    return -(-longest // min(STRONG_ROWS, int(level_rows(bounds)[-1])))


@device
def choose_level(log_decay: Any, place: Any, rows: Any, scratch: Any) -> Any:
    """The level of the next chunk and its number of tokens; `place` = (b, h, begin, tokens left).

    rows: of each level; scratch: (2, K).
    """
    b, h, begin, left = place
    mild = _mild_tokens(log_decay, (b, h, begin, min(left, rows[0])), rows[-1], scratch)
    if mild == left:
        for level in range(rows.shape[0] - 1, -1, -1):
            if rows[level] >= left:
                return level, left
    for level in range(rows.shape[0]):
        if rows[level] <= mild:
            return level, rows[level]
    return STRONG, min(STRONG_ROWS, left)


@device
def _mild_tokens(log_decay: Any, place: Any, step: int, scratch: Any) -> int:
    """How many of the n tokens at `place` = (b, h, begin, n) are mild together, from the first on.

    Looks every `step` tokens, and after the last.
    """
    b, h, begin, n = place
    sums, least = scratch[0], scratch[1]
    for i in range(sums.shape[0]):
        sums[i] = least[i] = 0
    for some in range(0, n, step):
        end = min(some + step, n)
        for t in range(begin + some, begin + end):
            for i in range(sums.shape[0]):
                sums[i] += log_decay[b, t, h, i]
                least[i] = min(least[i], log_decay[b, t, h, i])
        mild = 0
        for i in range(sums.shape[0]):
            mild += (least[i] >= _TOKEN) & (sums[i] >= _CHUNK)
        if mild < sums.shape[0]:
            return some
    return n
