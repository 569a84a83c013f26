"""The cuts of one call, as plain integers: all that a backend ever sees of a segmentation."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mcore.arrays import Array


@dataclass(frozen=True)
class Progress:
    """How far each row of a batch has come before this call.

    Attributes:
        position: (B,) tokens of the open document seen so far.
        length: (B,) tokens of the open segment seen so far; 0 at a border.
        count: (B,) checkpoints that the row holds.
        cached: number of checkpoint slots; a row's checkpoints are the last `count` of them.
    """

    position: Array
    length: Array
    count: Array
    cached: int


@dataclass(frozen=True)
class Segments:
    """Where each row is cut and which checkpoints each segment may read.

    The columns of a cache are the checkpoints that came in with the state (`cached` of them),
    followed by those of this call's segments. Rows with fewer segments than others are padded
    with empty segments at T.

    Attributes:
        bounds: (B, S+1) segment s of row b holds the tokens bounds[b, s] <= t < bounds[b, s+1].
        restart: (B, S) the memory starts afresh here; else it goes on from the segment before
            (for s = 0: from the carried state).
        first, last: (B, S) the checkpoint columns i with first <= i < last are visible.
        offset: (B,) tokens of the first segment that were seen before this call.
        final: (B,) the segment that is the last to hold a token that is not padding.
        ended: (B,) whether that segment is complete.
        cached: number of checkpoint columns that came in with the state.
        reached: (B, S) tokens of its document before each segment, or this call's part of it.
    """

    bounds: Array
    restart: Array
    first: Array
    last: Array
    offset: Array
    final: Array
    ended: Array
    cached: int
    reached: Array

    @property
    def rows(self) -> int:
        """B."""
        return int(self.bounds.shape[0])

    @property
    def tokens(self) -> int:
        """T."""
        return int(self.bounds[0, -1])

    @property
    def count(self) -> int:
        """S, the largest number of segments in a row."""
        return int(self.bounds.shape[1]) - 1

    @property
    def closed(self) -> Array:
        """(B,) number of segments that are complete at the end of this call."""
        closed: Array = self.final + self.ended
        return closed

    @property
    def columns(self) -> int:
        """Number of checkpoint columns that some token of this call may read."""
        return self.cached + self.count - 1

    @cached_property
    def index(self) -> Array:
        """(B, T) the segment of each token."""
        tokens = np.arange(self.tokens)
        rows = [np.searchsorted(row[1:], tokens, side="right") for row in self.bounds]
        return np.stack(rows)

    @cached_property
    def position(self) -> Array:
        """(B, T) how many tokens of its own segment came before each token."""
        rows = np.arange(self.rows)[:, None]
        before = np.where(self.index == 0, self.offset[:, None], 0)
        position: Array = np.arange(self.tokens) - self.bounds[rows, self.index] + before
        return position

    @cached_property
    def place(self) -> Array:
        """(B, T) how many tokens of its document came before each token."""
        rows = np.arange(self.rows)[:, None]
        begun = (self.reached - self.bounds[:, :-1])[rows, self.index]
        place: Array = np.arange(self.tokens) + begun
        return place

    @cached_property
    def visible(self) -> Array:
        """(B, T, columns) whether a token may read a checkpoint column."""
        rows = np.arange(self.rows)[:, None]
        first, last = self.first[rows, self.index], self.last[rows, self.index]
        column = np.arange(self.columns)
        return (column >= first[..., None]) & (column < last[..., None])

    @cached_property
    def real(self) -> Array:
        """(B,) tokens of each row that are not padding."""
        real: Array = self.bounds[np.arange(self.rows), self.final + 1]
        return real

    @cached_property
    def lengths(self) -> Array:
        """(B, S) tokens of each segment so far, those before this call included."""
        lengths: Array = np.diff(self.bounds, axis=1)
        lengths[:, 0] += self.offset
        return lengths

    def own(self) -> "Segments":
        """The same cuts, where segment s sees only column s (one mixed memory per segment)."""
        column = np.broadcast_to(np.arange(self.count), self.first.shape)
        return replace(self, first=column, last=column + 1, cached=1)

    def only(self, column: int) -> "Segments":
        """The same cuts, where `column` is the one checkpoint that there is."""
        seen = (self.first <= column) & (column < self.last)
        nowhere = np.zeros_like(self.first)
        return replace(self, first=nowhere, last=seen.astype(np.int64), cached=2 - self.count)


def fresh(rows: int) -> Progress:
    """The progress of `rows` sequences that have not begun."""
    zeros = np.zeros(rows, np.int64)
    return Progress(zeros, zeros, zeros, 0)
