"""A call's cuts on the device: integers that kernels index with.

They are copied there once for each different set of cuts, not once for each call: a training step
whose cuts are those of the step before waits for nothing.
"""

from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.placing import queue_of
from mcore.segments import Segments

KEPT = 64
"""Sets of cuts kept on the device."""


class Cuts(NamedTuple):
    """See `mcore.segments.Segments`; int32, on the device.

    Attributes:
        bounds: (B, S + 1).
        restart, first, last: (B, S).
        offset: (B,).
        segment: (B, T) that of each token.
        position: (B, T) tokens of its segment before each token.
    """

    bounds: Array
    restart: Array
    first: Array
    last: Array
    offset: Array
    segment: Array
    position: Array


def cuts_on(device: Device, segments: Segments) -> Cuts:
    """The cuts of a call, copied to the device unless they are there already.

    A copy is made in the order of one stream; another stream gets its own.
    """
    held = (segments.bounds, segments.restart, segments.first, segments.last, segments.offset)
    key = (id(device), queue_of(device.xp), *(x.shape for x in held), *(x.tobytes() for x in held))
    found = _kept.get(key)
    if found is None:
        tables = (*held, segments.index, segments.position)
        found = Cuts(*(device.upload(np.ascontiguousarray(x, np.int32)) for x in tables))
        _kept[key] = found
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return found


_kept: OrderedDict[Any, Cuts] = OrderedDict()
