"""The cuts of one call, as plain integers: all that a backend ever sees of a segmentation."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mcore.arrays import Array
from mcore.segmentation import Segmentation


@dataclass(frozen=True)
class Progress:
    """How far each row of a batch has come before this call.

    Attributes:
        position: (B,) tokens seen so far.
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
        closed: (B,) number of segments of this call that are complete at its end.
        cached: number of checkpoint columns that came in with the state.
    """

    bounds: Array
    restart: Array
    first: Array
    last: Array
    offset: Array
    closed: Array
    cached: int

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
    def visible(self) -> Array:
        """(B, T, columns) whether a token may read a checkpoint column."""
        rows = np.arange(self.rows)[:, None]
        first, last = self.first[rows, self.index], self.last[rows, self.index]
        column = np.arange(self.columns)
        return (column >= first[..., None]) & (column < last[..., None])

    @cached_property
    def final(self) -> Array:
        """(B,) the last segment of each row that holds a token."""
        return self.index[:, -1]

    def own(self) -> "Segments":
        """The same cuts, where segment s sees only column s (one mixed memory per segment)."""
        column = np.broadcast_to(np.arange(self.count), self.first.shape)
        return replace(self, first=column, last=column + 1, cached=1)


def fresh(rows: int) -> Progress:
    """The progress of `rows` sequences that have not begun."""
    zeros = np.zeros(rows, np.int64)
    return Progress(zeros, zeros, zeros, 0)


def cut(segmentation: Segmentation, carries: bool, tokens: int, progress: Progress) -> Segments:
    """Cut `tokens` new tokens of every row.

    Args:
        segmentation: the rule that places the borders.
        carries: whether a segment goes on from the memory of the one before it (the start mode
            `checkpoint`) or starts afresh (`independent`).
        tokens: T.
        progress: how far the rows have come.
    """
    segmentation.check_rows(len(progress.position))
    rows = [
        [border - begin for border in segmentation.borders(row, begin, begin + tokens)]
        for row, begin in enumerate(progress.position.tolist())
    ]
    closed = np.array([len(row) for row in rows], np.int64)
    count = max(len(row) + (not row or row[-1] < tokens) for row in rows)
    bounds = np.full((len(rows), count + 1), tokens, np.int64)
    bounds[:, 0] = 0
    for row, borders in enumerate(rows):
        bounds[row, 1 : len(borders) + 1] = borders
    restart = np.full((len(rows), count), not carries)
    begun = progress.position > 0
    restart[:, 0] = np.where(begun, (progress.length == 0) & (not carries), True)
    first = np.repeat((progress.cached - progress.count)[:, None], count, axis=1)
    last = np.broadcast_to(progress.cached + np.arange(count), first.shape).copy()
    return Segments(bounds, restart, first, last, progress.length, closed, progress.cached)
