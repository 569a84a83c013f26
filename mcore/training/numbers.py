"""Numbers and words from a run's files, which somebody may have written by hand."""

from typing import Any

_MOST = 2**62


def number(value: Any) -> Any:
    """The value, if it is a finite number of ordinary size.

    Raises: ValueError otherwise.
    """
    if type(value) in (int, float) and -_MOST < value < _MOST:
        return value
    raise ValueError(f"{str(value)[:40]!r} is no number that a run gives")


def count(value: Any) -> int:
    """The value, if it is a whole number, 0 or more.

    Raises: ValueError otherwise.
    """
    if type(value) is int and 0 <= value < _MOST:
        return value
    raise ValueError(f"{str(value)[:40]!r} is no count")


def word(value: Any) -> str:
    """The value, if it is a few printable letters.

    Raises: ValueError otherwise.
    """
    if isinstance(value, str) and 0 < len(value) <= 40 and value.isprintable():
        return value
    raise ValueError(f"{str(value)[:40]!r} is no name that a run gives")
