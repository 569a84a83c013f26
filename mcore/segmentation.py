"""Where a sequence is cut into segments: integers only (Behrouz et al. 2026, sections 3.1 and 4.2).

At the end of each segment the memory's state is kept as a checkpoint, so the lengths chosen here
are the dial between a recurrent network (one segment) and attention (one token a segment).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from mcore.errors import SpecError


class Segmentation(ABC):
    """A rule that places borders. A border at position p lies after the p-th token of the row."""

    kind: ClassVar[str]
    streams: ClassVar[bool] = True
    """Whether the borders before a position are known without the total length."""

    @property
    def names_rows(self) -> bool:
        """Whether rows of a batch are told apart, so that a batch cannot be split."""
        return False

    def check_rows(self, rows: int) -> None:  # noqa: B027  # most can cut any batch
        """Raise SpecError if a batch of `rows` rows cannot be cut."""

    @abstractmethod
    def borders(self, row: int, begin: int, end: int) -> list[int]:
        """The borders p of row `row` with begin < p <= end, ascending.

        `begin` tokens were seen before; `end - begin` arrive now.
        """


@dataclass(frozen=True)
class NoSegmentation(Segmentation):
    """One segment that never ends: the base recurrence (N = 1)."""

    kind: ClassVar[str] = "none"

    def borders(self, row: int, begin: int, end: int) -> list[int]:
        """No borders."""
        return []


@dataclass(frozen=True)
class Constant(Segmentation):
    """Every `length` tokens: N = ceil(T / length) segments, read cost O(T^2 / length)."""

    kind: ClassVar[str] = "constant"
    length: int = 64

    def __post_init__(self) -> None:
        if self.length < 1:
            raise SpecError(f"segmentation.length: {self.length} is too small; 1 or more would do")

    def borders(self, row: int, begin: int, end: int) -> list[int]:
        """Multiples of `length`."""
        return list(range(begin - begin % self.length + self.length, end + 1, self.length))


@dataclass(frozen=True)
class Logarithmic(Segmentation):
    """Powers of two that sum to T, largest first: 37 tokens are cut into 32, 4, 1 (section 4.2).

    The cuts depend on the total length, so this segmentation cannot stream.
    """

    kind: ClassVar[str] = "logarithmic"
    streams: ClassVar[bool] = False

    def borders(self, row: int, begin: int, end: int) -> list[int]:
        """Partial sums of the binary digits of `end`, largest first."""
        if begin:
            raise SpecError(
                "segmentation: logarithmic cuts depend on the total length, so a sequence cannot "
                "be continued; constant, given or none would do"
            )
        found, position = [], 0
        for bit in reversed(range(end.bit_length())):
            if end >> bit & 1:
                position += 1 << bit
                found.append(position)
        return found


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


SEGMENTATIONS: dict[str, type[Segmentation]] = {
    segmentation.kind: segmentation
    for segmentation in (NoSegmentation, Constant, Logarithmic, Given)
}
