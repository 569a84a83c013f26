"""Columns of a cache: those that came in with a state, followed by a call's checkpoints."""

import numpy as np

from mcore.arrays import Array, namespace
from mcore.picking import entries, put_entries
from mcore.placing import like
from mcore.segments import Segments


def join(cached: Array, new: Array, columns: int) -> Array:
    """The first `columns` of the cache followed by this call's checkpoints: (B, columns, ...)."""
    added = columns - cached.shape[1]
    if added == 0:
        return cached
    if cached.shape[1] == 0:
        return new[:, :added]
    joined: Array = namespace(new).concatenate([cached, new[:, :added]], axis=1)
    return joined


def kept(segments: Segments, limit: int | None) -> Array:
    """(B, C) columns of (cache + this call's checkpoints) that stay; -1 where a row has fewer.

    They are what the open document's next segment may see, a row's last ones at the right.
    """
    rows = np.arange(segments.rows)
    first = segments.first[rows, segments.final]
    end = segments.last[rows, segments.final] + segments.ended
    held = end - first if limit is None else np.minimum(end - first, limit)
    return aligned(end, held)


def aligned(end: Array, held: Array) -> Array:
    """(B, C) the `held` columns before `end` of each row, at the right; -1 before them."""
    width = int(held.max())
    column = end[:, None] - width + np.arange(width)
    return np.where(np.arange(width) >= (width - held)[:, None], column, -1)


def keep(joined: Array, columns: Array) -> Array:
    """Pick columns (B, C) of a cache (B, C', ...), zeros where a column is -1."""
    span = _span(columns)
    if span is not None:
        return joined[:, span]
    rows = np.arange(len(columns))[:, None]
    held = (columns >= 0).reshape(*columns.shape, *[1] * (joined.ndim - 2))
    picked = entries(joined, rows, np.maximum(columns, 0))
    kept: Array = namespace(joined).where(like(joined, held), picked, 0)
    return kept


def keep_backward(d_kept: Array, columns: Array, d_joined: Array) -> Array:
    """`d_joined` plus the gradient of `keep`, each kept column at its place."""
    total, span = d_joined.copy(), _span(columns)
    if span is not None:
        total[:, span] += d_kept
        return total
    rows, slots = np.nonzero(columns >= 0)
    place = rows, columns[rows, slots]
    put_entries(total, place, entries(total, *place) + entries(d_kept, rows, slots))
    return total


def _span(columns: Array) -> slice | None:
    """Columns that are the same neighbours in all rows, as a slice, which needs no copy."""
    if columns.shape[1] == 0:
        return slice(0, 0)
    first, last = int(columns[0, 0]), int(columns[0, -1])
    if first < 0 or not (columns == np.arange(first, first + columns.shape[1])).all():
        return None
    return slice(first, last + 1)
