"""Cuts that the caller lists."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from mcore.errors import SpecError
from mcore.segmentation.base import Segmentation


@dataclass(frozen=True)
class Given(Segmentation):
    """Lengths that the caller lists: one list for all rows, or one list per row of the batch."""

    kind: ClassVar[str] = "given"
    lengths: tuple[tuple[int, ...], ...]
    shared: bool

    @classmethod
    def of(cls, lengths: Sequence[int] | Sequence[Sequence[int]]) -> "Given":
        """From a list of lengths, or a list of such lists (one per row)."""
        table = _table(lengths)
        if table is None:
            raise SpecError(
                f"segmentation.lengths: {lengths!r} will not do; a list of whole numbers for all "
                "rows, e.g. [32, 4, 1], or one such list per row would"
            )
        if any(n < 1 for row in table for n in row):
            raise SpecError("segmentation.lengths: every length must be 1 or more, e.g. [32, 4, 1]")
        return cls(table, shared=isinstance(lengths[0], int))

    @property
    def names_rows(self) -> bool:
        """If there is a list per row."""
        return not self.shared

    def total(self, row: int) -> int:
        """Number of tokens that the lengths of a row cover."""
        return sum(self._row(row))

    def check_rows(self, rows: int) -> None:
        """Raise SpecError unless there is a list for every row."""
        if not self.shared and len(self.lengths) != rows:
            raise SpecError(
                f"segmentation.lengths: {len(self.lengths)} lists for {rows} rows; one list for "
                "all rows, or one per row would do"
            )

    def borders(self, row: int, begin: int, end: int) -> list[int]:
        """Partial sums of the row's lengths."""
        ends = [int(n) for n in accumulate(self._row(row))]
        if end > ends[-1]:
            raise SpecError(
                f"segmentation.lengths: they sum to {ends[-1]}, but row {row} has {end} tokens"
            )
        return [border for border in ends if begin < border <= end]

    def remaining(self, row: int, position: int) -> int:
        """Up to the next partial sum; 0 after the last."""
        ends = accumulate(self._row(row))
        return next((end - position for end in ends if end > position), 0)

    def _row(self, row: int) -> tuple[int, ...]:
        return self.lengths[0 if self.shared else row]


def _table(lengths: object) -> tuple[tuple[int, ...], ...] | None:
    """A tuple of rows, or None if it is neither a list of whole numbers nor a list of such."""
    if not isinstance(lengths, list | tuple) or not lengths:
        return None
    rows = [lengths] if type(lengths[0]) is int else lengths
    if not all(isinstance(row, list | tuple) and row for row in rows):
        return None
    if not all(type(n) is int for row in rows for n in row):
        return None
    return tuple(tuple(row) for row in rows)
