"""Cuts placed by content: per row, causally, the same in a stream however it is split.

From a segment's start a window of tokens is measured as if they all belonged to the segment; the
first that does not fit is where it ends, and there the next window begins. So no step is made per
token, and each token is measured at most max / min times.
"""

from dataclasses import dataclass

import numpy as np

from mcore.arrays import Array
from mcore.documents import Cuts, Span, Stretch
from mcore.misfit import Measure, Window
from mcore.placing import to_host
from mcore.segmentation import Adaptive
from mcore.segments import Progress


@dataclass
class _Cursor:
    """Where a row stands.

    Attributes:
        row: of the batch.
        spans: the documents that are left, the one it is in first.
        token: the first token that is not placed yet.
        offset: tokens of the open segment before it.
        restarts: whether the memory starts afresh there.
        found: the segments so far.
    """

    row: int
    spans: list[Span]
    token: int
    offset: int
    restarts: bool
    found: list[Stretch]


def place(
    adaptive: Adaptive, measure: Measure, spans: list[list[Span]], progress: Progress, carries: bool
) -> Cuts:
    """Cut every document of every row by content.

    Args:
        adaptive: bounds and threshold.
        measure: what is compared with the threshold.
        spans: documents of each row.
        progress: how far the rows have come.
        carries: whether a segment goes on from the memory of the one before it.
    """
    cursors = [
        _started(row, line, int(progress.length[row]), carries) for row, line in enumerate(spans)
    ]
    closes = np.zeros(len(spans), bool)
    while active := [cursor for cursor in cursors if cursor.spans]:
        window = _window(adaptive, active)
        taken = _fitting(adaptive, to_host(measure.misfit(window)), window)
        measure.advance(window, taken)
        for cursor, n, length in zip(active, taken.tolist(), window.length.tolist(), strict=True):
            if n == 0:
                closes[cursor.row] = True
            else:
                full = n < length or cursor.offset + n == adaptive.max
                _append(cursor, n, full)
            cursor.offset, cursor.restarts = 0, cursor.restarts or not carries
    return Cuts([cursor.found for cursor in cursors], closes)


def _started(row: int, spans: list[Span], length: int, carries: bool) -> _Cursor:
    opens = bool(spans) and spans[0].opens
    offset = 0 if opens else length
    return _Cursor(row, list(spans), 0, offset, opens or (offset == 0 and not carries), [])


def _window(adaptive: Adaptive, active: list[_Cursor]) -> Window:
    length = [min(adaptive.max - c.offset, c.spans[0].end - c.token) for c in active]
    return Window(
        np.array([c.row for c in active]),
        np.array([c.token for c in active]),
        np.array(length),
        np.array([c.offset for c in active]),
        np.array([c.restarts for c in active]),
    )


def _fitting(adaptive: Adaptive, misfit: Array, window: Window) -> Array:
    """(R,) how many tokens of each window belong to its segment."""
    step = np.arange(misfit.shape[1])
    may_end = window.offset[:, None] + step >= adaptive.min
    ends = (misfit > adaptive.threshold) & may_end & (step < window.length[:, None])
    return np.where(ends.any(axis=1), ends.argmax(axis=1), window.length)


def _append(cursor: _Cursor, tokens: int, complete: bool) -> None:
    span = cursor.spans[0]
    opens = span.opens and cursor.token == span.begin
    cursor.token += tokens
    cursor.found.append(Stretch(cursor.token, opens, complete))
    cursor.restarts = False
    if cursor.token == span.end:
        cursor.spans.pop(0)
        cursor.restarts = bool(cursor.spans)
