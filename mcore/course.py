"""A call as a course of passes: forward through all of them, and back.

A call is one pass, unless what a segment sees depends on decisions made at the borders before it
(a bounded cache that merges, or that looks at use): then it is one pass per border.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.cache import MemoryState
from mcore.cutting import Visibility, assemble
from mcore.documents import Arrivals, Cuts, Stretch
from mcore.ending import PassSaved
from mcore.onset import Closed, close, close_backward, renew, renew_backward
from mcore.passes import Machine, pass_backward, run_pass
from mcore.recurrence import Inputs


class Passed(NamedTuple):
    """A pass over the tokens begin <= t < end, before which the rows `renewed` were emptied."""

    saved: PassSaved
    renewed: Array
    begin: int
    end: int


@dataclass(frozen=True)
class MemorySaved:
    """What a memory's forward keeps for its backward. Opaque, but for `end` and `lengths`.

    Attributes:
        machine: what ran.
        passes: one after the other.
        closed: what closing a state's open segments kept.
        cuts: where the rows were cut.
        arrived: the documents of the call.
        prepare_saved: for the backward of the rule's `prepare`.
        given: whether a state came in.
    """

    machine: Machine
    passes: list[Passed]
    closed: Closed | None
    cuts: Cuts
    arrived: Arrivals
    prepare_saved: Any
    given: bool

    @cached_property
    def end(self) -> MemoryState:
        """The state after the last token, to go on from."""
        position, document = self.arrived.position, self.arrived.document
        return replace(self.passes[-1].saved.end, position=position, document=document)

    @property
    def reads(self) -> Array:
        """(B, T, H, V) answers of the online memory."""
        reads = [passed.saved.reads for passed in self.passes]
        return reads[0] if len(reads) == 1 else namespace(reads[0]).concatenate(reads, axis=1)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of y."""
        rows, _, *wide = self.passes[0].saved.shape
        return (rows, self.passes[-1].end, *wide)

    @property
    def origin(self) -> str:
        """The composition, in words."""
        return self.passes[0].saved.before.origin

    @property
    def lengths(self) -> list[list[int]]:
        """For each row, how many tokens of this call are in each of its segments."""
        ends = [[0, *(stretch.end for stretch in line)] for line in self.cuts.lists]
        return [[b - a for a, b in pairwise(line)] for line in ends]


class Course(NamedTuple):
    """A call to be run: prepared inputs, the state, the cuts, and what may be seen."""

    inputs: Inputs
    before: MemoryState
    cuts: Cuts
    tokens: int
    visibility: Visibility


def run(machine: Machine, course: Course) -> tuple[Array, list[Passed], Closed | None]:
    """y (B, T, H, V), the passes, and what closing kept."""
    before, closed = close(course.before, course.cuts.closes, machine.keeper)
    outputs, passes = [], []
    stepwise = machine.keeper.policy.stepwise
    for begin, end in edges(course.cuts.lists, course.tokens, stepwise):
        lists = clipped(course.cuts.lists, begin, end)
        renewed = opening(lists) & (before.position > 0)
        before = renew(before, renewed)
        segments = assemble(lists, end - begin, before.progress, course.visibility)
        inputs = course.inputs
        if (begin, end) != (0, course.tokens):
            inputs = _part(machine, inputs, slice(begin, end))
        y, saved = run_pass(machine, inputs, before, segments)
        outputs.append(y)
        passes.append(Passed(saved, renewed, begin, end))
        if end < course.tokens:
            before = saved.end
    y = outputs[0] if len(outputs) == 1 else namespace(outputs[0]).concatenate(outputs, axis=1)
    return y, passes, closed


def run_backward(
    saved: MemorySaved, dy: Array, d_end: MemoryState | None
) -> tuple[dict[str, Array], MemoryState]:
    """Gradients with respect to the prepared inputs and the state that came in."""
    parts: list[dict[str, Array]] = []
    d_state = d_end
    for passed in reversed(saved.passes):
        d_part = dy[:, passed.begin : passed.end]
        d_inputs, d_before = pass_backward(saved.machine, passed.saved, d_part, d_state)
        d_state = renew_backward(d_before, passed.renewed)
        parts.insert(0, d_inputs)
    assert d_state is not None
    d_state = close_backward(d_state, saved.closed, saved.machine.keeper)
    return (parts[0] if len(parts) == 1 else _joined(saved.machine, parts)), d_state


def edges(lists: list[list[Stretch]], tokens: int, stepwise: bool) -> list[tuple[int, int]]:
    """The passes of a call, as (begin, end): one, or one per end of a segment in any row."""
    if not stepwise:
        return [(0, tokens)]
    ends = {stretch.end for line in lists for stretch in line} | {0, tokens}
    return list(pairwise(sorted(ends)))


def clipped(lists: list[list[Stretch]], begin: int, end: int) -> list[list[Stretch]]:
    """The parts of all segments that lie in begin <= t < end, told from `begin`."""
    return [_clipped(line, begin, end) for line in lists]


def opening(lists: list[list[Stretch]]) -> Array:
    """(B,) whether a row's first token starts a document."""
    return np.array([bool(line) and line[0].opens for line in lists])


def _clipped(line: list[Stretch], begin: int, end: int) -> list[Stretch]:
    found, start = [], 0
    for stretch in line:
        if stretch.end > begin and start < end:
            last = min(stretch.end, end)
            opens = stretch.opens and start >= begin
            found.append(Stretch(last - begin, opens, stretch.complete and last == stretch.end))
        start = stretch.end
    return found


def _part(machine: Machine, inputs: Inputs, tokens: slice) -> Inputs:
    return {n: x if n in machine.parameters else x[:, tokens] for n, x in inputs.items()}


def _joined(machine: Machine, parts: list[dict[str, Array]]) -> dict[str, Array]:
    xp = namespace(next(iter(parts[0].values())))
    return {
        name: xp.stack([part[name] for part in parts]).sum(axis=0)
        if name in machine.parameters
        else xp.concatenate([part[name] for part in parts], axis=1)
        for name in parts[0]
    }
