"""From lists of segments to `Segments`: what a backend sees of the cuts of a call."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.documents import Stretch, stretches, whole
from mcore.segmentation import Segmentation
from mcore.segments import Progress, Segments


class Visibility(NamedTuple):
    """What restricts the checkpoints that a segment reads, and how it starts.

    Attributes:
        carries: a segment goes on from the memory of the one before it (the start mode
            `checkpoint`), or starts afresh (`independent`).
        limit: the latest so many checkpoints are visible; None for all.
    """

    carries: bool
    limit: int | None = None


def cut(segmentation: Segmentation, carries: bool, tokens: int, progress: Progress) -> Segments:
    """Cut `tokens` new tokens of every row, all of one document.

    Args:
        segmentation: the rule that places the borders.
        carries: as in `Visibility`.
        tokens: T.
        progress: how far the rows have come.
    """
    rows = len(progress.position)
    segmentation.check_rows(rows)
    spans = whole(rows, tokens, progress.position, np.zeros(rows, np.int64)).spans
    lists = [
        stretches(segmentation, spans[row], row, int(begun))
        for row, begun in enumerate(progress.position)
    ]
    return assemble(lists, tokens, progress, Visibility(carries))


def assemble(
    lists: Sequence[Sequence[Stretch]], tokens: int, progress: Progress, visibility: Visibility
) -> Segments:
    """Arrays of the segments of each row; what a list does not cover is padding.

    Padding counts as a document of its own: it sees nothing, and nothing sees it.
    """
    rows = len(lists)
    count = max(_slots(line, tokens) for line in lists)
    bounds = np.full((rows, count + 1), tokens, np.int64)
    restart = np.full((rows, count), not visibility.carries)
    opening = np.full((rows, count), -1)
    bounds[:, 0] = 0
    for row, line in enumerate(lists):
        held = line or [Stretch(0, opens=False, complete=False)]
        bounds[row, 1 : len(held) + 1] = [stretch.end for stretch in held]
        opening[row, : len(held)] = [s if x.opens else -1 for s, x in enumerate(held)]
        opening[row, len(held) :] = np.arange(len(held), count)
    restart[:, 0] = (progress.length == 0) & (not visibility.carries) | (progress.position == 0)
    restart |= opening >= 0
    opened = np.maximum.accumulate(opening, axis=1)
    first, last = _visible(opened, progress, visibility.limit)
    final = np.array([max(len(line) - 1, 0) for line in lists])
    ended = np.array([bool(line) and line[-1].complete for line in lists])
    return Segments(
        bounds, restart, first, last, progress.length, final, ended, progress.cached,
        _reached(bounds, opened, progress),
    )  # fmt: skip


def _slots(line: Sequence[Stretch], tokens: int) -> int:
    """Segments that a row needs: its own, one for padding, one that holds nothing if all is."""
    end = line[-1].end if line else 0
    return max(len(line), 1) + (end < tokens)


def _reached(bounds: Array, opened: Array, progress: Progress) -> Array:
    """Tokens of its document before each segment, given the segment (or -1) that opened it."""
    begins = np.take_along_axis(bounds, np.maximum(opened, 0), axis=1)
    before = np.where(opened >= 0, -begins, progress.position[:, None])
    reached: Array = bounds[:, :-1] + before
    return reached


def _visible(opened: Array, progress: Progress, limit: int | None) -> tuple[Array, Array]:
    """First and last visible column, given the segment (or -1) that opened each one's document."""
    before = (progress.cached - progress.count)[:, None]
    last = np.broadcast_to(progress.cached + np.arange(opened.shape[1]), opened.shape).copy()
    first = np.where(opened >= 0, progress.cached + opened, before)
    return (first if limit is None else np.maximum(first, last - limit)), last
