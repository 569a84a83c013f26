"""Truncated back-propagation: rows in pieces, each a step, the state carried from piece to piece.

A step sees `truncate` tokens of every row and the state that the step before left: gradients end
at the border of the piece, what is remembered does not. At the end of the rows all starts afresh.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from mcore.arrays import Array
from mcore.data import Batch, PackedBatch


class Piece(NamedTuple):
    """Some tokens of each row, what to predict at them, and the state that they find.

    Shapes: as of `Batch`.
    """

    tokens: NDArray[Any]
    labels: NDArray[Any]
    state: Mapping[str, Array]


AnyBatch = Batch | PackedBatch | Piece
"""What a step may train on."""


class Batches(Protocol):
    """What makes training batches: a task."""

    def train_batch(self, step: int) -> Batch | PackedBatch:
        """The rows of step `step`, from 1; the same at every call."""


class Rows:
    """The training rows of a task, cut into pieces of at most `truncate` tokens.

    Attributes:
        state: what the last step left; empty at the start of rows.
    """

    def __init__(self, task: Batches, length: int, truncate: int | None) -> None:
        self.state: dict[str, Array] = {}
        self._task, self._truncate = task, truncate
        self._pieces = 1 if truncate is None else -(-length // truncate)

    def batch(self, step: int) -> AnyBatch:
        """What step `step` (from 1) trains on."""
        if self._truncate is None:
            return self._task.train_batch(step)
        row, piece = divmod(step - 1, self._pieces)
        whole = self._task.train_batch(row + 1)
        at = slice(piece * self._truncate, (piece + 1) * self._truncate)
        return Piece(whole.tokens[:, at], whole.labels[:, at], self.state if piece else {})

    def keep(self, step: int, end: Mapping[str, Array]) -> None:
        """Remember the state that step `step` left, unless its rows are over."""
        self.state = dict(end) if step % self._pieces else {}
