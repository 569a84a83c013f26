"""Who reads a checkpoint: the choices of a group of tokens, sorted by what was chosen."""

from typing import Any

from mcore.backends.numba_cpu.caching import device

GROUP = 1024
"""Tokens whose choices are sorted together."""


@device
def bucket(columns: Any, place: Any, offsets: Any, entries: Any) -> None:
    """Sort the choices of some tokens by column, tokens ascending within each: a counting sort.

    columns (B, T, H, top_k), -1 where nothing was chosen; place = (b, h, begin, end) the tokens.
    The entries of column c are `entries[:, offsets[c]:offsets[c + 1]]`: tokens, told from `begin`,
    and which of the token's slots.
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
                entries[0, offsets[column]] = t - begin
                entries[1, offsets[column]] = slot
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
