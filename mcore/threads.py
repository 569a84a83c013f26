"""Who works at the same time, so that BLAS, kernels and rows of a batch never fight for cores.

Rows of a batch do not depend on each other. So a training step gives each thread its own rows, and
runs BLAS and kernels in that thread alone: everything scales, also what NumPy does element by
element, and no pool of threads waits for another.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from functools import cache, cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")

_local = threading.local()


class Worker(Protocol):
    """What of a backend says where and by how many it works."""

    xp: ModuleType
    threads: int


def kernel_threads(default: int) -> int:
    """Threads that a kernel may use when called from this thread; `default` outside workers."""
    return int(getattr(_local, "limit", default))


def at_work(backend: Worker) -> AbstractContextManager[None]:
    """BLAS with as many threads as the backend has; nothing of it where arrays lie on a device."""
    on_host = backend.xp.__name__ == "numpy"
    return blas_threads(backend.threads) if on_host else nullcontext()


@contextmanager
def blas_threads(count: int) -> Iterator[None]:
    """Limit BLAS to `count` threads meanwhile. The limit holds for the whole process."""
    with _controller().limit(limits=count, user_api="blas"):
        yield


class Workers:
    """A fixed number of threads that share a list of independent work.

    Attributes:
        count: number of threads; with 1 everything runs in the caller's.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`[function(item) for item in items]`, at the same time, in order.

        Each call runs its BLAS and kernels single-threaded.
        """
        with blas_threads(1):
            contexts = [copy_context() for _ in items]
            jobs = [
                self._pool.submit(context.run, _alone, function, item)
                for context, item in zip(contexts, items, strict=True)
            ]
            return [job.result() for job in jobs]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.count, thread_name_prefix="mcore")


def _alone(function: Callable[[Item], Result], item: Item) -> Result:
    _local.limit = 1
    return function(item)


@cache
def _controller() -> "ThreadpoolController":
    # Asking which libraries are loaded takes milliseconds, so it is done once.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
