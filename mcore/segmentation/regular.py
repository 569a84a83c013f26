"""Cuts that follow from counting: none, every so many tokens, falling powers of two."""

from dataclasses import dataclass
from typing import ClassVar

from mcore.errors import SpecError
from mcore.segmentation.base import FOREVER, Segmentation


@dataclass(frozen=True)
class NoSegmentation(Segmentation):
    """One segment that never ends: the base recurrence (N = 1)."""

    kind: ClassVar[str] = "none"

    def borders(self, row: int, begin: int, end: int) -> list[int]:
        """No borders."""
        return []

    def remaining(self, row: int, position: int) -> int:
        """All."""
        return FOREVER


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

    def remaining(self, row: int, position: int) -> int:
        """Up to the next multiple of `length`."""
        return self.length - position % self.length


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
