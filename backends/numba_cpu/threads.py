"""Run a kernel over independent tasks on several threads.

Kernels release the GIL, so plain Python threads run them side by side. Compared with Numba's own
parallel loops, a kernel is compiled once instead of four times, and calls from several threads and
forked processes are safe. A task, a row of a head or a fixed block of such rows, is always computed
by one thread, so results do not depend on the number of threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mcore.threads import kernel_threads

_WORTH_A_THREAD = 1 << 14
"""Numbers in the largest input: below this, waking a thread takes longer than the work."""


class Tasks(NamedTuple):
    """How many tasks there are, and how many threads share them."""

    number: int
    threads: int


def run(
    kernel: Callable[..., None], tasks: Tasks, x: Any, work: Callable[..., Any], *out: Any
) -> None:
    """`kernel((begin, end), x, work(x), *out)` over shares of `tasks`, each with its own work."""
    if tasks.threads == 1 or tasks.number == 1:
        kernel((0, tasks.number), x, work(x), *out)
        return
    largest = max(array.size for array in x if isinstance(array, np.ndarray))
    shares = max(
        1, min(kernel_threads(tasks.threads) if largest >= _WORTH_A_THREAD else 1, tasks.number)
    )
    borders = [tasks.number * i // shares for i in range(shares + 1)]
    spans = list(pairwise(borders))
    others = [_pool(shares, os.getpid()).submit(kernel, s, x, work(x), *out) for s in spans[1:]]
    kernel(spans[0], x, work(x), *out)
    for other in others:
        other.result()


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool per process: threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mcore")
