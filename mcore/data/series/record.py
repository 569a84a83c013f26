"""What a reader of series is asked for, and what it gives."""

from typing import Any, NamedTuple

from numpy.typing import NDArray

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
"""What stands in a text file, in any case, where a value is missing."""


class Series(NamedTuple):
    """One sequence.

    Attributes:
        name: where it is from, for messages.
        x: (T, C) float64, NaN where a value is missing.
        label: of the whole sequence, as it stands in the file; None without one.
    """

    name: str
    x: NDArray[Any]
    label: str | None = None


class Wanted(NamedTuple):
    """What to read of a file.

    Attributes:
        columns: the channels: columns of a table, or as many names as an array has channels.
        label: the column, or the array of an .npz, that holds labels; None if none is wanted.
        group: the column that tells series apart; None if a file is one.
    """

    columns: tuple[str, ...]
    label: str | None = None
    group: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of a table that are read as text."""
        return tuple(name for name in (self.label, self.group) if name is not None)
