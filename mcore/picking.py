"""Entries of float arrays, picked and masked by integers of the host; see `mcore.placing`."""

import numpy as np

from mcore.arrays import Array, namespace
from mcore.placing import like, on_host


def per_row(chosen: Array, there: Array | float, elsewhere: Array | float) -> Array:
    """(B, H, .) of which the rows `chosen` (B,) bool are `there`, the others `elsewhere`.

    One of the two may be a number for all.
    """
    if not isinstance(elsewhere, int | float) and not chosen.any():
        return elsewhere
    x = there if isinstance(elsewhere, int | float) else elsewhere
    assert not isinstance(x, int | float)
    picked: Array = namespace(x).where(like(x, chosen)[:, None, None], there, elsewhere)
    return picked


def one_each(x: Array, columns: Array) -> Array:
    """(B, ...) the entry `columns[b]` of each row b of x (B, S, ...); a copy."""
    if (columns == columns[0]).all():
        return x[:, int(columns[0])].copy()
    return x[_pairs(x, np.arange(len(columns)), columns)]


def add_to_one_each(x: Array, columns: Array, added: Array) -> None:
    """Add `added` (B, ...) to those entries, in place."""
    if (columns == columns[0]).all():
        x[:, int(columns[0])] += added
    else:
        x[_pairs(x, np.arange(len(columns)), columns)] += added


def entries(x: Array, rows: Array, columns: Array) -> Array:
    """The entries x[rows, columns] of x (B, C, ...), rows and columns of one shape."""
    return x[_pairs(x, rows, columns)]


def put_entries(x: Array, place: tuple[Array, Array], values: Array) -> None:
    """Write x[rows, columns] of x (B, C, ...), in place; no entry twice."""
    x[_pairs(x, *place)] = values


def dots(x: Array, y: Array) -> Array:
    """Sums of products along the last axis: (..., N), (..., N) to (...)."""
    total: Array = np.einsum("...n,...n->...", x, y) if on_host(x) else (x * y).sum(axis=-1)
    return total


def largest_of(x: Array) -> Array:
    """The largest along the last axis of x (..., N), of which no entry is negative."""
    # NumPy is a third faster when it is told where to start; CuPy cannot be told.
    largest: Array = x.max(axis=-1, initial=0.0) if on_host(x) else x.max(axis=-1)
    return largest


def accumulate(x: Array) -> None:
    """Running sums of x (B, S, P) over S, in place."""
    if not on_host(x):
        x[...] = x.cumsum(axis=1)
        return
    for s in range(1, x.shape[1]):
        x[:, s] += x[:, s - 1]


def accumulate_later(x: Array) -> None:
    """Sums of x (B, S, P) over each entry of S and all later ones, in place."""
    if not on_host(x):
        x[...] = x[:, ::-1].cumsum(axis=1)[:, ::-1]
        return
    for s in range(x.shape[1] - 2, -1, -1):
        x[:, s] += x[:, s + 1]


def _pairs(x: Array, rows: Array, columns: Array) -> tuple[Array, Array]:
    return like(x, rows), like(x, columns)
