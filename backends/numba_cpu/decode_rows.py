"""Rows of a decoder as streams of their own: some go on, others wait, come or leave."""

from functools import partial
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.numba_cpu.decode import INFINITE, NumbaDecoder
from mcore.backends.numba_cpu.decode_plan import decodes
from mcore.backends.numba_cpu.decode_work import Memory, space
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.cache import MemoryState
from mcore.errors import InputError
from mcore.recurrence import Inputs

FEW = 64
"""So many tasks are done before another thread has woken up."""


def decoder(decoding: Decoding, state: MemoryState, threads: int) -> "NumbaRowDecoder | None":
    """See `mcore.backend.Backend.decoder`."""
    return NumbaRowDecoder(decoding, state, threads) if decodes(decoding) else None


class NumbaRowDecoder(NumbaDecoder):
    """See `mcore.backend.RowDecoder`."""

    def __init__(self, decoding: Decoding, state: MemoryState, threads: int) -> None:
        super().__init__(decoding, state)
        self._threads, self._wide = threads, dict[int, Array]()
        declared = decoding.rule.inputs | decoding.readout.inputs
        self._by_token = {name for name, axes in declared.items() if "T" in axes.split()}

    def feed_rows(self, rows: Array, inputs: Inputs, closes: Array) -> Array:
        """See `mcore.backend.RowDecoder`."""
        first = bool(rows[-1] == len(rows) - 1)
        for place, name in self._given:
            spread = not first and name in self._by_token
            self._token[place] = (
                self._spread_out(place, rows, inputs[name]) if spread else inputs[name]
            )
        if self._spread is not None:
            self._spread[...] = inputs["log_decay"]
        answer = partial(self._run_rows, rows, first)
        return self._close(rows[closes], answer) if closes.any() else answer()

    def _spread_out(self, place: int, rows: Array, x: Array) -> Array:
        """An input of some rows at their places among all."""
        if place not in self._wide:
            self._wide[place] = np.zeros((len(self.memory.closes), *x.shape[1:]), x.dtype)
        wide = self._wide[place]
        wide[rows] = x
        return wide

    def _run_rows(self, rows: Array, first: bool) -> Array:
        shape = (len(rows) if first else len(self.memory.closes), *self._shape[1:])
        y, token, finite = np.empty(shape, self._dtype), tuple(self._token), list[bool]()

        def part(span: tuple[int, int], memory: Memory, work: Any, y: Array) -> None:
            finite.append(self._entry((rows, *span), token, memory, work, y))

        count = len(rows) * shape[2]
        run(part, Tasks(count, self._threads if count > FEW else 1), self.memory, space, y)
        if not all(finite):
            raise InputError(INFINITE)
        return y if first else y[rows]
