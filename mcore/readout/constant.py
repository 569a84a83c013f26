"""Readouts without parameters: their gates depend on which checkpoints are visible alone."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mcore.arrays import Array
from mcore.errors import SpecError
from mcore.readout.base import Readout
from mcore.segments import Segments


@dataclass(frozen=True)
class NoReadout(Readout):
    """Only the online memory: `y_t = o_t`."""

    kind: ClassVar[str] = "none"

    @property
    def reads_cache(self) -> bool:
        """False."""
        return False


@dataclass(frozen=True)
class Residual(Readout):
    """All gates are 1: `y_t = o_t + sum_i M_i(q_t)` (Eq. 6-7)."""

    kind: ClassVar[str] = "residual"

    def constant_gates(self, segments: Segments) -> Array:
        """One for every visible checkpoint and for the online memory."""
        return _visible(segments)


@dataclass(frozen=True)
class MovingAverage(Readout):
    """A parameter-free average, for models that were trained without a cache (section 4.3).

    `uniform`: the mean of the reads of all visible checkpoints and the online memory.
    `ema`: from the oldest to the online memory, `a <- (1 - rate) a + rate * read`, starting at the
    oldest read; a larger `rate` forgets faster.
    """

    kind: ClassVar[str] = "moving_average"
    weights: Literal["uniform", "ema"] = "uniform"
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.weights not in ("uniform", "ema"):
            raise SpecError(
                f"readout.weights: {self.weights!r} is unknown; uniform or ema would do"
            )
        if not 0 < self.rate <= 1:
            raise SpecError(f"readout.rate: {self.rate} is out of range; 0 < rate <= 1 would do")

    def constant_gates(self, segments: Segments) -> Array:
        """Weights that sum to one over the visible checkpoints and the online memory."""
        visible = _visible(segments)
        if self.weights == "uniform":
            return np.asarray(visible / visible.sum(axis=-1, keepdims=True))
        newer = np.cumsum(visible[..., ::-1], axis=-1)[..., ::-1] - visible
        oldest = newer == visible.sum(axis=-1, keepdims=True) - 1
        decayed = (1 - self.rate) ** newer * np.where(oldest, 1.0, self.rate)
        return np.where(visible > 0, decayed, 0.0)


def _visible(segments: Segments) -> Array:
    column = np.arange(segments.columns + 1)
    seen = (column >= segments.first[..., None]) & (column < segments.last[..., None])
    seen[..., -1] = True
    return seen.astype(np.float64)
