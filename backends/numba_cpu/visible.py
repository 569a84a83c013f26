"""Which rows of a block of tokens use a checkpoint."""

from typing import Any

from mcore.backends.numba_cpu.caching import device


@device
def visible_columns(x: Any, place: Any, first: Any, last: Any) -> Any:
    """Per row of the block at `place` the visible columns `first <= i < last`; and their hull.

    `x` holds `bounds`, `first` and `last` of `Segments`.
    """
    b, _, begin, n = place
    s, low, high = 0, x.last[b, -1], 0
    for t in range(n):
        while x.bounds[b, s + 1] <= begin + t:
            s += 1
        first[t], last[t] = x.first[b, s], x.last[b, s]
        if first[t] < last[t]:
            low, high = min(low, first[t]), max(high, last[t])
    return low, high


@device
def choose_rows(x: Any, place: Any, column: int, work: Any) -> int:
    """List in `work.chosen` the rows to work on for one checkpoint; returns their number.

    Those with a gate that is not 0; where they are most of the rows between the first and the last
    of them, all of these. `work.weights` receives the gates, 0 where `column` is not visible.
    """
    b, h, begin, n = place
    count, chosen, zero = 0, work.chosen, x.q.dtype.type(0)
    for t in range(n):
        weight = zero
        if work.first[t] <= column < work.last[t]:
            weight = x.gates[b, begin + t, h, column] if x.gates.size else zero + 1
        work.weights[t] = weight
        if weight != 0:
            chosen[count] = t
            count += 1
    if count == 0:
        return 0
    width = chosen[count - 1] + 1 - chosen[0]
    if 2 * count <= width:
        return count
    for r in range(1, width):
        chosen[r] = chosen[0] + r
    return width


@device
def pick_rows(source: Any, chosen: Any, count: int, block: Any) -> Any:
    """The chosen rows: a slice of `source` where they are neighbours, else a copy in `block`."""
    if chosen[count - 1] - chosen[0] + 1 == count:
        return source[chosen[0] : chosen[0] + count]
    for r in range(count):
        for j in range(source.shape[1]):
            block[r, j] = source[chosen[r], j]
    return block[:count]
