"""What Numba compiles while something runs, and where the kernels are kept.

A kernel read from the disk cache is not compiled, and does not count. A kernel's seconds include
those of the device functions that it calls first.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from numba.core.caching import NullCache
from numba.core.event import Event, Listener, install_listener

from mcore.backends.numba_cpu.caching import cache_folder


class Compiled(NamedTuple):
    """A kernel that was compiled, the types that it was compiled for, and how long it took."""

    name: str
    types: str
    seconds: float


class _Watch(Listener):  # type: ignore[misc]
    """Collects kernels; device functions are told apart by having no cache on disk."""

    def __init__(self) -> None:
        self.found: list[Compiled] = []
        self._begun: list[float] = []

    def on_start(self, event: Event) -> None:
        self._begun.append(time.perf_counter())

    def on_end(self, event: Event) -> None:
        seconds = time.perf_counter() - self._begun.pop()
        dispatcher = event.data["dispatcher"]
        if not isinstance(dispatcher._cache, NullCache):
            types = ", ".join(map(str, event.data["args"]))
            self.found.append(Compiled(dispatcher.__name__, types, seconds))


class Compiler:
    """See `mcore.warmup.Compiler`."""

    @property
    def folder(self) -> Path:
        """Where the kernels of these sources are kept."""
        return cache_folder()

    @contextmanager
    def watch(self) -> Iterator[list[Any]]:
        """A list that grows by each kernel that is compiled meanwhile, in any thread."""
        watch = _Watch()
        with install_listener("numba:compile", watch):
            yield watch.found
