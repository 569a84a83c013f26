"""How much memory an emulated device has, and how much arrays take."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


class OutOfMemoryError(MemoryError):
    """What CuPy raises by the same name."""


class Memory:
    """Counts the bytes of arrays while there is a limit.

    Attributes:
        limit: bytes that there are; None for no limit, and no counting.
        used, peak: bytes taken now, and at most so far.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self.used = self.peak = 0
        self._held: set[int] = set()

    def hold(self, host: np.ndarray[Any, Any]) -> None:
        """Count the memory behind an array, if it is not counted yet.

        Raises: OutOfMemoryError when it is more than there is.
        """
        root: Any = host
        while isinstance(root.base, np.ndarray):
            root = root.base
        if self.limit is None or id(root) in self._held:
            return
        self._held.add(id(root))
        self.used += root.nbytes
        weakref.finalize(root, self._release, id(root), root.nbytes).atexit = False
        if self.used > self.limit:
            message = f"Out of memory allocating {root.nbytes:,} bytes"
            raise OutOfMemoryError(f"{message} (allocated so far: {self.used:,} bytes)")
        self.peak = max(self.peak, self.used)

    def _release(self, held: int, size: int) -> None:
        self._held.discard(held)
        self.used -= size


memory = Memory()


@contextmanager
def limited(size: int) -> Iterator[Memory]:
    """Emulated devices have `size` bytes meanwhile; arrays made before do not count."""
    memory.limit, memory.used, memory.peak = size, 0, 0
    try:
        yield memory
    finally:
        memory.limit = None
