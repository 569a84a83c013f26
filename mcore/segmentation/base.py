"""What a segmentation is: a rule that places borders."""

from abc import ABC, abstractmethod
from typing import ClassVar

FOREVER = 2**62
"""More tokens than any stream has."""


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

    def remaining(self, row: int, position: int) -> int | None:
        """How many tokens of row `row` are left, after `position` of them, up to the next border.

        None: this many cannot be told beforehand. `FOREVER` if there is no border to come.
        """
        return None
