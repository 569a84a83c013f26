"""Where one input of a token mixer lies among the columns of the projection."""

from typing import NamedTuple

from mcore.recurrence import Feature, Gate


class Slot(NamedTuple):
    """One input: how it is made, its width per head, and its columns of the projection."""

    name: str
    law: Feature | Gate
    width: int
    columns: slice

    @property
    def bias(self) -> str:
        """Name of its bias among the parameters."""
        return f"{self.name}.bias"

    @property
    def up(self) -> str:
        """Name of what leads out of its bottleneck, among the parameters."""
        return f"{self.name}.up"

    @property
    def scale(self) -> float:
        """What a vector input or a sigmoid is multiplied by."""
        if isinstance(self.law, Gate):
            return self.law.largest
        scaled = isinstance(self.law, Feature) and self.law.scale
        return float(self.width**-0.5) if scaled else 1.0
