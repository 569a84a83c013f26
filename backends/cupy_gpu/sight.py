"""Which tokens see which checkpoints, on the device: integers that reads and routing index with."""

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.segments import Segments

KEPT = 64
"""Sets of cuts whose tables are kept on the device."""


class Sight(NamedTuple):
    """See `mcore.segments.Segments`; int32, on the device.

    Attributes:
        first, last: (B, T) each token sees the columns first <= c < last.
        begin, end: (B, columns) no other tokens than begin <= t < end see a column.
        place: (B, T) tokens of its document before each token.
    """

    first: Array
    last: Array
    begin: Array
    end: Array
    place: Array


def sight_on(device: Device, segments: Segments) -> Sight:
    """The tables of a call's cuts, copied to the device unless they are there already."""
    held = (segments.bounds, segments.first, segments.last, segments.reached)
    key = (id(device), segments.cached, *(x.shape for x in held), *(x.tobytes() for x in held))
    found = _kept.get(key)
    if found is None:
        found = Sight(*(device.upload(x) for x in tables(segments)))
        _kept[key] = found
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return found


def tables(segments: Segments) -> list[Array]:
    """The arrays of `Sight`, on the host."""
    rows = np.arange(segments.rows)[:, None]
    tokens = (segments.first[rows, segments.index], segments.last[rows, segments.index])
    seen = [_readers(segments, row) for row in range(segments.rows)]
    columns = (np.stack(x) for x in zip(*seen, strict=True))
    whole = (*tokens, *columns, segments.place)
    return [np.ascontiguousarray(x, np.int32) for x in whole]


def _readers(segments: Segments, row: int) -> tuple[Array, Array]:
    """Where the tokens that see each column begin and end; both 0 where nobody does."""
    bounds, column = segments.bounds[row], np.arange(segments.columns)
    first, last = segments.first[row][:, None], segments.last[row][:, None]
    seen = (first <= column) & (column < last) & (np.diff(bounds) > 0)[:, None]
    begin = bounds[seen.argmax(axis=0)]
    end = bounds[len(seen) - seen[::-1].argmax(axis=0)]
    anyone = seen.any(axis=0)
    return np.where(anyone, begin, 0), np.where(anyone, end, 0)


_kept: OrderedDict[Any, Sight] = OrderedDict()
