"""How many tokens with decays per channel go into one chunk: as many as their factors allow.

A chunk in matrix form divides by products of decay factors. While no token of it decays a channel
below e^-4 and all of them together not below e^-40, that costs no digit and overflows nowhere; the
chunk is *mild*, and goes on for as long as it is. A token that is not mild by itself begins a chunk
of *strong* tokens: their rule takes them in a form without divisions.

Where a chunk ends depends on nothing but the decays up to there: backward finds the chunks that
forward made, and no answer depends, in any bit, on later tokens. Buffers come in three sizes, the
levels; the smallest that holds a chunk is used.
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

_FEWEST = 10
"""Tokens that are mild by themselves are mild together up to this number."""


def level_rows(bounds: Array) -> Array:
    """Tokens of a chunk at each level, largest first; those of the longest segment equally long."""
    longest = int(np.diff(bounds, axis=1).max())
    rows = -(-longest // -(-longest // ROWS))
    return np.array([rows, -(-rows // 2), -(-rows // 4)])


def most_chunks(bounds: Array) -> int:
    """A bound of the number of chunks in a segment: before each strong one may be a short one."""
    longest = int(np.diff(bounds, axis=1).max())
    return 2 * -(-longest // min(_FEWEST, int(level_rows(bounds)[0]))) + 1


@device
def choose_level(log_decay: Any, place: Any, rows: Any, scratch: Any) -> Any:
    """The level of the next chunk and its number of tokens; `place` = (b, h, begin, tokens left).

    rows: of each level; scratch: (2, K).
    """
    b, h, begin, left = place
    n = min(left, rows[0])
    if _mild_tokens(log_decay, (b, h, begin, 1), 1, scratch) == 0:
        return STRONG, min(STRONG_ROWS, left)
    if _mild_tokens(log_decay, (b, h, begin, n), n, scratch) < n:
        n = _mild_tokens(log_decay, (b, h, begin, n), 1, scratch)
    level = rows.shape[0] - 1
    while rows[level] < n:
        level -= 1
    return level, n


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
