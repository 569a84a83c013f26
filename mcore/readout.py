"""How much each checkpoint, and the online memory, counts for each token.

Every readout is `y_t = g_t,online * o_t + sum_i g_t,i * M_i(q_t)` over the checkpoints i that token
t may read; what differs is where the gates g come from (Behrouz et al. 2026, section 3.2).
"""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mcore.arrays import Array
from mcore.errors import SpecError
from mcore.router import Router
from mcore.segments import Segments


class Readout(ABC):
    """Base of the readouts: what a memory layer needs to know of one."""

    kind: ClassVar[str]
    mixes_states: ClassVar[bool] = False
    """Whether memories are mixed before they are read (soup), instead of their answers."""

    @property
    def reads_cache(self) -> bool:
        """Whether checkpoints are read at all."""
        return True

    @property
    def router(self) -> Router | None:
        """How gates are computed from u and the contexts, or None if they are constants."""
        return None

    def constant_gates(self, segments: Segments) -> Array:
        """(B, S, columns + 1) constant gates per segment, the online memory last."""
        raise NotImplementedError(f"readout {self.kind} has no constant gates")


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
class Grm(Readout):
    """Gated residual memory: a softmax over cached and online contexts (Eq. 8-10)."""

    kind: ClassVar[str] = "grm"

    @property
    def router(self) -> Router:
        """Softmax over everything visible."""
        return Router()


@dataclass(frozen=True)
class Soup(Readout):
    """Memory soup: the gates of GRM mix the memories' parameters, then one read (Eq. 14-15)."""

    kind: ClassVar[str] = "soup"
    mixes_states: ClassVar[bool] = True

    @property
    def router(self) -> Router:
        """Softmax over everything visible."""
        return Router()


@dataclass(frozen=True)
class Ssc(Readout):
    """Sparse selective caching: softmax over the `top_k` best and the online memory (Eq. 16-17)."""

    kind: ClassVar[str] = "ssc"
    top_k: int = 2

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise SpecError(f"readout.top_k: {self.top_k} is too small; 1 or more would do")

    @property
    def router(self) -> Router:
        """Softmax over the selected checkpoints and the online memory."""
        return Router(top_k=self.top_k)


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


READOUTS: dict[str, type[Readout]] = {
    readout.kind: readout for readout in (NoReadout, Residual, Grm, Soup, Ssc, MovingAverage)
}
