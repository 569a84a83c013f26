"""Documents packed in a row: which tokens belong together, and which are padding.

`document` (B, T) holds an id per token; a change of id starts a new document, whose tokens see
nothing of what came before: packed is the same as separate, exactly. Negative ids at the end of a
row are padding: they are not remembered and their outputs are 0.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array, namespace, received
from mcore.errors import InputError, ShapeError
from mcore.placing import like
from mcore.segmentation import Segmentation


class Span(NamedTuple):
    """Tokens begin <= t < end of one document; `opens` if the document starts there."""

    begin: int
    end: int
    opens: bool


class Stretch(NamedTuple):
    """A segment of a row that ends before token `end`.

    Attributes:
        end: where it ends.
        opens: whether a document starts with it.
        complete: whether it ended by a border, and so became a checkpoint.
    """

    end: int
    opens: bool
    complete: bool


class Cuts(NamedTuple):
    """Segments of each row, and the rows (B,) whose open segment ends before the first token."""

    lists: list[list[Stretch]]
    closes: Array


class Arrivals(NamedTuple):
    """What a call's `document` says.

    Attributes:
        spans: for each row, its documents in order; none if the row is all padding.
        renews: (B,) whether a row's first token starts a new document, so that its state is void.
        document: (B,) id of the document that is open at the end.
        position: (B,) tokens of that document seen at the end.
    """

    spans: list[list[Span]]
    renews: Array
    document: Array
    position: Array


def check_documents(document: object, rows: int, tokens: int) -> Array:
    """(B, T) int64 ids.

    Raises:
        ShapeError: another shape.
        InputError: not integers, or padding (a negative id) before a token that is not.
    """
    ids = received("document", document, np)
    if ids.shape != (rows, tokens):
        raise ShapeError(f"document: shape {ids.shape}, expected (B, T) = {(rows, tokens)}")
    if ids.dtype.kind not in "iu":
        raise InputError(f"document: {ids.dtype}, expected integers; negative ones are padding")
    padding = ids < 0
    early = padding[:, :-1] & ~padding[:, 1:]
    if early.any():
        row, token = np.argwhere(early)[0]
        raise InputError(
            f"document: row {row} has padding at token {token} and goes on after it; padding at "
            "the end of a row would do"
        )
    return ids.astype(np.int64)


def reach_of(ids: Array) -> Array:
    """(B, T) how many tokens of its own document come before each token of rows that start here."""
    place = np.arange(ids.shape[1])
    opens = np.ones(ids.shape, bool)
    opens[:, 1:] = ids[:, 1:] != ids[:, :-1]
    reach: Array = place - np.maximum.accumulate(np.where(opens, place, 0), axis=1)
    return reach


def whole(rows: int, tokens: int, position: Array, document: Array) -> Arrivals:
    """All tokens of a row belong to the document that is open, or to a first one."""
    spans = [[Span(0, tokens, opens=bool(begun == 0))] for begun in position.tolist()]
    return Arrivals(spans, np.zeros(rows, bool), document, position + tokens)


def arrivals(ids: Array, position: Array, document: Array) -> Arrivals:
    """Documents of a call, given how far each row's open document has come, and its id."""
    spans: list[list[Span]] = []
    renews, last = np.zeros(len(ids), bool), document.copy()
    for row, line in enumerate(ids):
        real = int((line >= 0).sum())
        spans.append([])
        if real == 0:
            continue
        renews[row] = position[row] > 0 and line[0] != document[row]
        last[row] = line[real - 1]
        changes = np.flatnonzero(np.diff(line[:real])) + 1
        begins = position[row] == 0 or bool(renews[row])
        for begin, end in pairwise([0, *changes.tolist(), real]):
            spans[row].append(Span(begin, end, opens=begin > 0 or begins))
    return Arrivals(spans, renews, last, _reached(spans, position))


def _reached(spans: list[list[Span]], position: Array) -> Array:
    reached = position.copy()
    for row, line in enumerate(spans):
        if line:
            begin, end, opens = line[-1]
            reached[row] = end - begin + (0 if opens else position[row])
    return reached


def stretches(
    segmentation: Segmentation, spans: list[Span], row: int, position: int
) -> list[Stretch]:
    """A row's segments: every document is cut as if it were alone.

    `position` counts the tokens of the open document that came before this call.
    """
    found: list[Stretch] = []
    for begin, end, opens in spans:
        before = 0 if opens else position
        borders = segmentation.borders(row, before, before + end - begin)
        ends = [border - before + begin for border in borders]
        cuts = [*ends] if ends and ends[-1] == end else [*ends, end]
        found += [
            Stretch(cut, opens and i == 0, complete=i < len(ends)) for i, cut in enumerate(cuts)
        ]
    return found


def unpadded(y: Array, lists: list[list[Stretch]]) -> Array:
    """y (B, T, H, V), or its gradient, with 0 where no segment holds the token."""
    real = np.array([line[-1].end if line else 0 for line in lists])
    if (real == y.shape[1]).all():
        return y
    held = like(y, np.arange(y.shape[1]) < real[:, None])
    masked: Array = namespace(y).where(held[..., None, None], y, 0)
    return masked
