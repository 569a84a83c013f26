"""The best few of many logits for a chunk of tokens, with tokens along the rows of memory."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.caching import device

GROUP = 1024
"""Tokens whose choices are sorted together."""


@device
def select_best(logits: Any, first: int, best: Any, columns: Any) -> None:
    """The largest logits of each token in `best` (top_k, n), their columns in `columns`.

    logits (C, n) are those of the columns from `first` on. Ties go to the lower column; where there
    are fewer than top_k, `best` is -inf and `columns` is -1.
    """
    slots, tokens = best.shape
    for slot in range(slots):
        for t in range(tokens):
            best[slot, t] = -np.inf
            columns[slot, t] = -1
    for i in range(logits.shape[0]):
        _insert(logits[i], np.int32(first + i), best, columns)


@device
def _insert(row: Any, column: Any, best: Any, columns: Any) -> None:
    """Offer one column to every token: it replaces the least of the best, and rises past lesser
    ones. It is newer than all of them, so it stays behind its equals."""
    last = best.shape[0] - 1
    for t in range(row.shape[0]):
        better = row[t] > best[last, t]
        best[last, t] = row[t] if better else best[last, t]
        columns[last, t] = column if better else columns[last, t]
    for slot in range(last - 1, -1, -1):
        for t in range(row.shape[0]):
            high, low = best[slot, t], best[slot + 1, t]
            high_column, low_column = columns[slot, t], columns[slot + 1, t]
            rises = low > high
            best[slot, t] = low if rises else high
            best[slot + 1, t] = high if rises else low
            columns[slot, t] = low_column if rises else high_column
            columns[slot + 1, t] = high_column if rises else low_column


@device
def bucket(columns: Any, place: Any, offsets: Any, entries: Any) -> None:
    """Sort the choices of some tokens by column, tokens ascending within each: a counting sort.

    columns (B, T, H, top_k), -1 where nothing was chosen; place = (b, h, begin, end) the tokens.
    The entries of column c are `entries[:, offsets[c]:offsets[c + 1]]`: tokens, and which of the
    token's slots.
    """
    b, h, begin, end = place
    slots = columns.shape[3]
    for i in range(offsets.shape[0]):
        offsets[i] = 0
    for t in range(begin, end):
        for slot in range(slots):
            if columns[b, t, h, slot] >= 0:
                offsets[columns[b, t, h, slot] + 1] += 1
    for i in range(1, offsets.shape[0]):
        offsets[i] += offsets[i - 1]
    for t in range(begin, end):
        for slot in range(slots):
            column = columns[b, t, h, slot]
            if column >= 0:
                entries[0, offsets[column]], entries[1, offsets[column]] = t, slot
                offsets[column] += 1
    for i in range(offsets.shape[0] - 1, 0, -1):
        offsets[i] = offsets[i - 1]
    offsets[0] = 0


@device
def group_end(x: Any, b: int, s: int) -> int:
    """The end of the group of segments that begins with s: enough tokens to fill matrix products
    with the readers of one checkpoint, few enough to stay in a near cache."""
    end = s + 1
    while end < x.first.shape[1] and x.scan.bounds[b, end] - x.scan.bounds[b, s] < GROUP:
        end += 1
    return end


@device
def group_begin(x: Any, b: int, end: int) -> int:
    """The first segment of the group that ends before segment `end`: as `group_end`."""
    s = end - 1
    while s > 0 and x.scan.bounds[b, end] - x.scan.bounds[b, s] < GROUP:
        s -= 1
    return s
