"""Runs of a call on the device: the stretches of tokens through which a vector memory goes on.

A segment that starts afresh begins a run, so runs are independent of one another.
"""

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.segments import Segments

KEPT = 64
"""Sets of runs kept on the device."""


class Runs(NamedTuple):
    """All runs of all rows, the longest first.

    Attributes:
        table: (count, 4) int32 on the device: row, first token, end, whether the memory goes on
            from the carried state.
        number: of runs.
        longest: tokens of the longest.
    """

    table: Array
    number: int
    longest: int


def runs_on(device: Device, segments: Segments) -> Runs:
    """The runs of a call, copied to the device unless they are there already."""
    held = (segments.bounds, segments.restart)
    key = (id(device), *(x.shape for x in held), *(x.tobytes() for x in held))
    found = _kept.get(key)
    if found is None:
        table = run_table(segments)
        longest = int((table[:, 2] - table[:, 1]).max())
        found = Runs(device.upload(np.ascontiguousarray(table, np.int32)), len(table), longest)
        _kept[key] = found
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return found


def run_table(segments: Segments) -> Array:
    """(count, 4) see `Runs.table`, on the host."""
    rows, tokens = np.arange(segments.rows)[:, None], np.arange(segments.tokens)
    at_border = segments.bounds[rows, segments.index] == tokens
    afresh = at_border & segments.restart[rows, segments.index]
    begins = afresh.copy()
    begins[:, 0] = True
    row, first = np.nonzero(begins)
    last_of_row = np.append(row[1:] != row[:-1], True)
    end = np.where(last_of_row, segments.tokens, np.append(first[1:], 0))
    table: Array = np.stack([row, first, end, ~afresh[row, first]], axis=1)
    return table[np.argsort(first - end, kind="stable")]


_kept: OrderedDict[Any, Runs] = OrderedDict()
