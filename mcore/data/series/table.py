"""From the rows of a table to series: a group of rows is one."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcore.data.series.record import Series, Wanted
from mcore.errors import DataError


class Table(NamedTuple):
    """The columns that are wanted.

    Attributes:
        path: of the file.
        place: says where row i is: `file:line`.
        x: (N, C) float64.
        texts: column -> the text of each row.
    """

    path: str
    place: Callable[[int], str]
    x: NDArray[Any]
    texts: dict[str, list[str]]


def series_of(table: Table, wanted: Wanted) -> list[Series]:
    """A series for each value of the group's column, in the order of their first rows.

    Raises: DataError when the rows of one series have two labels, or there is no row.
    """
    if not len(table.x):
        raise DataError(f"{table.path}: has a header and no row; give a file with data")
    if wanted.group is None:
        return [_series(table, wanted, np.arange(len(table.x)), table.path)]
    groups: dict[str, list[int]] = {}
    for row, name in enumerate(table.texts[wanted.group]):
        groups.setdefault(name, []).append(row)
    return [
        _series(table, wanted, np.array(rows), f"{table.path} ({wanted.group} {name})")
        for name, rows in groups.items()
    ]


def missing_columns(path: str, header: Sequence[str], wanted: Wanted) -> None:
    """Raise DataError if a wanted column is not in the header."""
    gone = [name for name in (*wanted.columns, *wanted.texts) if name not in header]
    if gone:
        there = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
        raise DataError(f"{path}: has no column {gone[0]!r}; its columns are {there}")


def _series(table: Table, wanted: Wanted, rows: NDArray[Any], name: str) -> Series:
    label = None
    if wanted.label is not None:
        labels = table.texts[wanted.label]
        label = labels[rows[0]]
        other = next((row for row in rows if labels[row] != label), None)
        if other is not None:
            ways = "set data.group to the column that tells series apart" * (wanted.group is None)
            what = f"label {labels[other]!r}, and the series began with {label!r}"
            raise DataError(f"{table.place(other)}: {what}; {ways or 'a series has one label'}")
    return Series(name, table.x[rows], label)
