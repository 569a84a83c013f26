"""A call's chunks on the device: which tokens each holds, and where the states around it lie.

A state at the end of a segment is its checkpoint. Those inside segments, and the gradients of
states that are handed on, have arrays of their own, in which a code from 0 is a place:

    NOWHERE     no state: the memory is zero
    CARRIED     the state that came into the row
    END - s     the checkpoint of segment s
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.placing import queue_of
from mcore.segments import Segments

NOWHERE, CARRIED, END = -1, -2, -3

KEPT = 64
"""Sets of chunks kept on the device."""

Chain = tuple[int, int]
"""The first of some chunks in a row, and the first that no longer belongs to them."""


class Chunks(NamedTuple):
    """Chunks and chains; int32, on the device. Chains are (., 2); None where there are none.

    Attributes:
        table: (N, 6) row, first token, tokens, codes of the state before, of the state after, and
            of the latter's gradient.
        runs: from where a memory starts, or comes in, to where the next one starts.
        parts: the chunks of each segment.
        linked: those runs in which a state is handed on, or came in.
        inner: the chunks of each segment but its last, where a state is handed on among them.
        states: number of states inside segments.
        gradients: number of gradients that are handed on.
    """

    table: Array
    runs: Array
    parts: Array
    linked: Array | None
    inner: Array | None
    states: int
    gradients: int


@dataclass
class _Plan:
    """Chunks as they are found, row after row."""

    table: list[tuple[int, ...]] = field(default_factory=list)
    runs: list[Chain] = field(default_factory=list)
    parts: list[Chain] = field(default_factory=list)
    states: int = 0
    gradients: int = 0

    def add_row(self, segments: Segments, row: int, rows: int) -> None:
        """The chunks of one row."""
        bounds, code, begun = segments.bounds[row], CARRIED, len(self.table)
        for s in np.flatnonzero(bounds[1:] > bounds[:-1]):
            if segments.restart[row, s]:
                self._close(begun)
                code, begun = NOWHERE, len(self.table)
            span = int(bounds[s]), int(bounds[s + 1])
            code = self._add_segment(row, span, (code, int(s)), rows)
        self._close(begun)

    def _add_segment(self, row: int, span: Chain, place: tuple[int, int], rows: int) -> int:
        code, s = place
        first = len(self.table)
        for begin in range(span[0], span[1], rows):
            count = min(rows, span[1] - begin)
            end = END - s if begin + count == span[1] else self.states
            self.states += end >= 0
            self.table.append((row, begin, count, code, end, self.gradients))
            self.gradients += 1
            code = end
        self.parts.append((first, len(self.table)))
        return code

    def _close(self, begun: int) -> None:
        """A run ends: what enters at its end is nobody's but the checkpoint's."""
        if begun == len(self.table):
            return
        self.runs.append((begun, len(self.table)))
        self.table[-1] = (*self.table[-1][:5], self.table[-1][4])
        self.gradients -= 1

    def links(self, chains: list[Chain]) -> list[Chain]:
        """Those chains that hand a state on, or begin with one."""
        return [(a, b) for a, b in chains if b - a > 1 or (b > a and self.table[a][3] != NOWHERE)]


def chunks_on(device: Device, segments: Segments, rows: int) -> Chunks:
    """The chunks of a call, of at most `rows` tokens, copied to the device unless there already.

    A copy is made in the order of one stream; another stream gets its own.
    """
    held = (segments.bounds, segments.restart)
    shapes, queue = [x.shape for x in held], queue_of(device.xp)
    key = (device, queue, rows, *shapes, *(x.tobytes() for x in held))
    found = _kept.get(key)
    if found is None:
        _kept[key] = found = _chunks(device, segments, rows)
        if len(_kept) > KEPT:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return found


def _chunks(device: Device, segments: Segments, rows: int) -> Chunks:
    plan = _Plan()
    for row in range(segments.rows):
        plan.add_row(segments, row, rows)

    def up(numbers: list[Any]) -> Array | None:
        return device.upload(np.array(numbers, np.int32)) if numbers else None

    table, runs, parts = up(plan.table), up(plan.runs), up(plan.parts)
    assert table is not None and runs is not None and parts is not None
    linked = up(plan.links(plan.runs))
    inner = up(plan.links([(a, b - 1) for a, b in plan.parts]))
    return Chunks(table, runs, parts, linked, inner, plan.states, plan.gradients)


_kept: OrderedDict[Any, Chunks] = OrderedDict()
