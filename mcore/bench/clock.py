"""Timing that stands beside the machine's own speed: calls in turns, sgemm between the rounds.

One thread is timed with the processor's clock, which a busy machine does not disturb much; several
threads with the wall clock. The best round counts.
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from mcore.threads import blas_threads

REST = 0.2
"""Seconds after a product on several threads: BLAS's threads keep their cores busy for a while."""
Call = Callable[[], object]
SIZE = 1024
"""Rows and columns of the product that a machine's speed is told by."""


class Effort(NamedTuple):
    """How long to measure, on what, by which clock.

    Attributes:
        threads: that everything runs on.
        rounds: at least so many.
        seconds: after which no round begins any more.
        wall: one thread by the wall clock, too, to be put beside several.
    """

    threads: int = 1
    rounds: int = 3
    seconds: float = 2.0
    wall: bool = False

    def clock(self) -> float:
        """Now."""
        alone = self.threads == 1 and not self.wall
        return time.process_time() if alone else time.perf_counter()

    def timed(self, call: Call) -> float:
        """Seconds of one call."""
        start = self.clock()
        call()
        return self.clock() - start


ONE_THREAD = Effort()
"""By the processor's clock."""


class Timing(NamedTuple):
    """Best seconds of each call, and the best sgemm rate between the rounds in FLOP/s."""

    seconds: dict[str, float]
    sgemm: float


def interleave(calls: Mapping[str, Call], effort: Effort) -> Timing:
    """Time calls in turns; the caller has run each of them once before, so that all are warm."""
    end = time.perf_counter() + effort.seconds
    best, rate, done = dict.fromkeys(calls, float("inf")), 0.0, 0
    while done < effort.rounds or time.perf_counter() < end:
        rate, done = max(rate, sgemm_rate(effort)), done + 1
        for name, call in calls.items():
            best[name] = min(best[name], effort.timed(call))
    return Timing(best, max(rate, sgemm_rate(effort)))


def sgemm_rate(effort: Effort = ONE_THREAD) -> float:
    """FLOP/s of a large product of float32 matrices on these threads."""
    a = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    with blas_threads(effort.threads):
        rate = 2 * SIZE**3 / min(effort.timed(lambda: a @ a) for _ in range(3))
    if effort.threads > 1:
        time.sleep(REST)
    return rate
