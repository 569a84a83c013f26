"""How badly a token fits the segment before it: the measures of content-based cuts."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from mcore.arrays import Array, namespace
from mcore.backend import Backend
from mcore.cutting import Visibility, assemble
from mcore.documents import Stretch
from mcore.picking import per_row
from mcore.placing import sent
from mcore.recurrence import Inputs, Recurrence
from mcore.segments import Progress, Segments


class Window(NamedTuple):
    """Tokens of some rows that are measured together.

    Attributes:
        rows: (R,) the rows of the batch.
        begin: (R,) their first token.
        length: (R,) how many tokens.
        offset: (R,) tokens of the open segment before them.
        restarts: (R,) whether the memory starts afresh before them.
    """

    rows: Array
    begin: Array
    length: Array
    offset: Array
    restarts: Array

    @property
    def tokens(self) -> Array:
        """(R, W) tokens; past a row's length its last one again."""
        steps = np.minimum(np.arange(self.length.max()), self.length[:, None] - 1)
        tokens: Array = self.begin[:, None] + steps
        return tokens

    def of(self, x: Array) -> Array:
        """The entries of x (B, T, ...) in the window: (R, W, ...)."""
        return x[sent(x, self.rows[:, None]), sent(x, self.tokens)]


class Measure(Protocol):
    """How badly each token of a window fits."""

    def misfit(self, window: Window) -> Array:
        """(R, W) numbers between 0 and 1."""

    def advance(self, window: Window, taken: Array) -> None:
        """The segment ends after `taken` (R,) tokens of the window."""


@dataclass
class Drift:
    """Distance of a key from the mean key of its segment, relative to the length of both.

    Attributes:
        keys: (B, T, H, K).
        carried: (B, H, K) key sums of the segments that are open.
    """

    keys: Array
    carried: Array

    def misfit(self, window: Window) -> Array:
        """`|k - m| / (|k| + |m|)` over all heads; 0 at the first token of a segment."""
        k = window.of(self.keys).reshape(*window.tokens.shape, -1).astype(np.float64)
        xp, carried = namespace(k), self.carried[sent(k, window.rows)].reshape(len(k), -1)
        before = xp.where(sent(k, window.offset[:, None] > 0), carried, 0)
        sums = before[:, None] + xp.cumsum(k, axis=1) - k
        count = window.offset[:, None] + np.arange(k.shape[1])
        mean = sums / sent(k, np.maximum(count, 1))[..., None]
        misfit: Array = xp.where(sent(k, count > 0), _apart(k, mean), 0)
        return misfit

    def advance(self, window: Window, taken: Array) -> None:
        """Nothing is carried over a border."""


@dataclass
class Surprise:
    """How far a memory is from a token's value before it is written.

    Attributes:
        backend: runs the recurrence.
        rule: whose memory is asked.
        inputs: prepared inputs (B, T, ...).
        initial: (H, P) the memory of a segment that starts afresh.
        carried: (B, H, P) the memory that a segment goes on from.
        carries: whether later segments go on from the one before them.
    """

    backend: Backend
    rule: Recurrence
    inputs: Inputs
    initial: Array
    carried: Array
    carries: bool

    def misfit(self, window: Window) -> Array:
        """`|v - M(k)| / (|v| + |M(k)|)` over all heads, M the memory before the token."""
        memory, inputs = self._memory(window), self._inputs(window)
        k, v = inputs["k"], inputs["v"]
        first = self.rule.read(self.rule.unflatten(memory, k.shape[-1]), k[:, 0])
        xp = namespace(k)
        following = xp.concatenate([k[:, 1:], k[:, :1]], axis=1)
        segments = _one_segment(window, window.length)
        scan, _ = self.backend.scan(self.rule, {**inputs, "q": following}, memory, segments)
        said = xp.concatenate([first[:, None], scan.reads[:, :-1]], axis=1)
        return _apart(_flat(v), _flat(said))

    def advance(self, window: Window, taken: Array) -> None:
        """Remember the memory that the next segment goes on from, if it does."""
        if not self.carries:
            return
        memory = self._memory(window)
        segments = _one_segment(window, taken)
        scan, _ = self.backend.scan(self.rule, self._inputs(window), memory, segments)
        self.carried = self.carried.copy()
        after = per_row(taken == 0, memory, scan.checkpoints[:, 0])
        self.carried[sent(memory, window.rows)] = after

    def _memory(self, window: Window) -> Array:
        """(R, H, P) what each window's first token finds."""
        carried = self.carried[sent(self.carried, window.rows)]
        return per_row(window.restarts, self.initial, carried)

    def _inputs(self, window: Window) -> dict[str, Array]:
        return {
            name: x if self.rule.is_parameter(name) else window.of(x)
            for name, x in self.inputs.items()
            if name in self.rule.prepared
        }


def _one_segment(window: Window, taken: Array) -> Segments:
    """`taken` tokens per row that go on from a given memory, and the rest apart from them."""
    begun = np.ones_like(window.offset)
    progress = Progress(begun, window.offset, np.zeros_like(begun), 0)
    lists = [[Stretch(int(n), opens=False, complete=False)] for n in taken]
    return assemble(lists, window.tokens.shape[1], progress, Visibility(carries=True))


def _flat(x: Array) -> Array:
    return x.reshape(*x.shape[:2], -1).astype(np.float64)


def _apart(x: Array, y: Array) -> Array:
    """`|x - y| / (|x| + |y|)` along the last axis; 0 for two zeros."""
    xp = namespace(x)
    lengths = xp.linalg.norm(x, axis=-1) + xp.linalg.norm(y, axis=-1)
    apart: Array = xp.linalg.norm(x - y, axis=-1) / xp.where(lengths > 0, lengths, 1)
    return apart
