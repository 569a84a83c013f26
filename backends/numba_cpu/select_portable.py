"""The best few of many logits for a chunk of tokens, as plain loops: any host."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.caching import device


@device
def select_best(logits: Any, first: int, best: Any, columns: Any) -> None:
    """See `mcore.backends.numba_cpu.select`."""
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
