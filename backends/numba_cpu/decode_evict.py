"""Caches that do not simply let the oldest checkpoint go: `merge` and `least_used`.

There is room for one checkpoint more than the limit. Where a segment's end fills it, the row's
cache is taken out, settled as in `mcore.cache.settle`, and put back: once a segment.
"""

from dataclasses import replace

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.numba_cpu.decode_work import COUNT, POSITION, Memory
from mcore.cache import Cache, MemoryState, compact, expand, settle
from mcore.cache.settle import Merger


def room_of(decoding: Decoding) -> int:
    """The most checkpoints that are ever held."""
    policy = decoding.cache
    return (policy.limit or np.iinfo(np.int64).max - 1) + policy.stepwise


def settled(state: MemoryState, decoding: Decoding) -> MemoryState:
    """The state of a batch of one, less what exceeds the limit by one."""
    rule, readout, policy, _, dims, _ = decoding
    router = readout.routing
    merger = Merger(rule, dims.K, router is not None and router.pool == "sum")
    joined = Cache(expand(state.stored, state.online.dtype.name), state.contexts, state.ledger)
    cache, _ = settle(joined, np.arange(int(state.count[0]))[None], policy, merger)
    stored = compact(cache.checkpoints, policy.dtype, rule.state_shape(dims)[-1])
    return replace(
        state,
        checkpoints=stored.codes,
        scales=stored.scales,
        contexts=cache.contexts,
        ledger=cache.ledger,
        count=state.count - 1,
    )


class Use:
    """How much checkpoints are used: what kernels counted is entered into their books.

    Only of caches where it decides; their checkpoints are never in a ring, so those of a row are
    its first slots.
    """

    def __init__(self, rows: int) -> None:
        self._entered = np.zeros(rows, np.int64)

    def begin(self, rows: Array | slice, memory: Memory) -> None:
        """Rows that have just been filled: nothing is left to enter."""
        self._entered[rows] = memory.books[rows, 0, POSITION]

    def enter(self, rows: Array, held: Array, memory: Memory, ledger: Array) -> None:
        """Tokens and mean gates since the last time, for the first `held` (n,) of some rows."""
        if not memory.used.size:
            return
        position = memory.books[rows, 0, POSITION]
        mine = np.arange(ledger.shape[1]) < held[:, None]
        ledger[rows, :, 1] += mine * (position - self._entered[rows])[:, None]
        ledger[rows, :, 2] += memory.used[rows].mean(axis=1)
        memory.used[rows], self._entered[rows] = 0, position

    def enter_all(self, memory: Memory, ledger: Array) -> None:
        """The same for all rows."""
        self.enter(np.arange(len(ledger)), memory.books[:, 0, COUNT], memory, ledger)
