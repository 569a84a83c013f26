"""Where arrays lie: integers and what is decided by them on the host, floats with their backend.

Positions, lengths, counts, document ids and cuts are NumPy arrays whatever the backend, so nothing
waits for a device to know them. Where floats on a device are picked or masked by them they are sent
there: `like`. For NumPy all of this is the array itself, without a copy.
"""

from collections import OrderedDict
from threading import Lock
from types import ModuleType
from typing import Any, cast

import numpy as np

from mcore.arrays import Array, namespace

KEPT = 64 << 20
"""Bytes of copies that are kept on devices."""


def on_host(x: object) -> bool:
    """Whether `x` is a NumPy array, or a number of NumPy."""
    return isinstance(x, np.ndarray | np.generic)


def to_host(x: Array) -> Array:
    """`x` as a NumPy array: itself, or a copy of what is on a device, for which the host waits."""
    return x if on_host(x) else cast(Array, namespace(x).asnumpy(x))


def like(x: Array, host: Array) -> Array:
    """A host array where `x` lies: itself, or a copy, which must not be written to.

    A copy is kept, and found again by its numbers: a call whose cuts are those of the call before
    sends nothing.
    """
    return host if on_host(x) else _copies.of(namespace(x), host)


def sent(x: Array, host: Array) -> Array:
    """As `like`, for numbers that will not come again: the copy is not kept."""
    return host if on_host(x) else cast(Array, namespace(x).asarray(host))


class _Copies:
    """Copies of host arrays on devices, the latest used `KEPT` bytes of them.

    Calls in several threads may ask at once.
    """

    def __init__(self) -> None:
        self._held: OrderedDict[Any, Array] = OrderedDict()
        self._lock, self._bytes = Lock(), 0

    def of(self, xp: ModuleType, host: Array) -> Array:
        """The copy of `host` in the library `xp`."""
        key = (queue_of(xp), host.dtype.str, host.shape, host.tobytes())
        with self._lock:
            found = self._held.get(key)
            if found is None:
                found = self._held[key] = cast(Array, xp.asarray(host))
                self._bytes += host.nbytes
                self._forget()
            self._held.move_to_end(key)
            return found

    def _forget(self) -> None:
        while self._bytes > KEPT and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes


def queue_of(xp: ModuleType) -> tuple[object, ...]:
    """What orders the work of a library: a device and a stream, where it has those.

    A copy is made in the order of one stream, so that another one must not read it unasked.
    """
    cuda = getattr(xp, "cuda", None)
    if cuda is None:
        return (xp.__name__,)
    return (xp.__name__, cuda.runtime.getDevice(), cuda.get_current_stream().ptr)


_copies = _Copies()
