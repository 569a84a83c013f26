"""Cuts placed by content: what is measured, and within which bounds."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from mcore.errors import SpecError
from mcore.segmentation.base import Segmentation
from mcore.segmentation.regular import Constant


@dataclass(frozen=True)
class Adaptive(Segmentation):
    """Cuts before a token that does not fit its segment, by a measure between 0 and 1.

    `drift`: `|k_t - m| / (|k_t| + |m|)` with m the mean of the segment's keys before t, over all
    heads. `surprise`: `|v_t - M(k_t)| / (|v_t| + |M(k_t)|)` with M the memory before t. A border
    is placed before t if the measure exceeds `threshold` and the segment has `min` tokens, and
    after `max` tokens in any case; `mcore.adaptive` finds them, per row, from the past alone.
    """

    kind: ClassVar[str] = "adaptive"
    rule: Literal["drift", "surprise"] = "drift"
    threshold: float = 0.5
    min: int = 16
    max: int = 256

    def __post_init__(self) -> None:
        if self.rule not in ("drift", "surprise"):
            raise SpecError(
                f"segmentation.rule: {self.rule!r} is unknown; drift or surprise would do"
            )
        if not 0 <= self.threshold <= 1:
            raise SpecError(
                f"segmentation.threshold: {self.threshold} is out of range; the measure lies "
                "between 0 and 1, and 0.5 would do"
            )
        if not 1 <= self.min <= self.max:
            raise SpecError(
                f"segmentation.min: {self.min} with max {self.max} will not do; "
                "1 <= min <= max would"
            )

    def borders(self, row: int, begin: int, end: int) -> list[int]:
        """The most borders that content may place: every `min` tokens."""
        return Constant(self.min).borders(row, begin, end)
