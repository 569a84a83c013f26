"""The errors mcore raises.

    McoreError
    ├── SpecError          a spec (YAML, dict or --set) is wrong; carries every problem at once
    ├── InputError         an input array cannot be used
    │   └── ShapeError     it does not have the shape that was declared for it
    ├── BackendError       a backend is missing, broken, or cannot run what was asked
    ├── DataError          a data file is missing, empty or unreadable
    ├── SnapshotError      a snapshot is truncated, foreign or does not fit the model
    ├── OutOfMemoryError   a GPU has no room for what was asked; says what would fit
    └── NonFiniteError     NaN or infinity appeared; names the place

Each carries the exit code the command line ends with: 2 for a user's mistake, 1 otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class McoreError(Exception):
    """Base of all errors that mcore raises on purpose.

    Messages quote names and values from files: as text, they hold no character that could steer a
    terminal.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(text: str) -> str:
    """The text with every character escaped that has no shape of its own; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a spec: where, what, and what would do."""

    location: str
    path: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.location, self.path, self.message) if part)


class SpecError(McoreError, ValueError):
    """A spec is wrong. `problems` lists everything found, in the order of the file."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("", "", problems)]
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class InputError(McoreError, ValueError):
    """An input array cannot be used as it is."""

    exit_code = 2


class ShapeError(InputError):
    """An array does not have the declared shape."""


class BackendError(McoreError, RuntimeError):
    """A backend is not installed, failed to load, or cannot run what was asked of it."""

    exit_code = 2


class DataError(McoreError):
    """A data source is missing, empty or unreadable."""

    exit_code = 2


class SnapshotError(McoreError):
    """A snapshot cannot be read: truncated, not ours, or of another model."""

    exit_code = 2


class OutOfMemoryError(McoreError, MemoryError):
    """A device has no room for what was asked; the message says what would fit."""

    exit_code = 2


class NonFiniteError(McoreError, ArithmeticError):
    """NaN or infinity appeared in a computation; the message names the place."""
