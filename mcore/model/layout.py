"""What a network is made of, without its parameters."""

from typing import NamedTuple

import numpy as np

from mcore.model.block import Residual
from mcore.model.ends import FINAL, Ends
from mcore.model.part import Params, Shapes, merged, prefixed


class Layout(NamedTuple):
    """The parts of a network, in order, and what stands around them.

    Attributes:
        parts: dotted name -> part, e.g. `blocks.0.mixer`.
        ends: what stands before the first part, and after the last norm.
    """

    parts: dict[str, Residual]
    ends: Ends

    @property
    def width(self) -> int:
        """D."""
        return self.ends.width

    @property
    def vocab(self) -> int:
        """Number of different tokens; 0 where data are real numbers."""
        return self.ends.vocab

    @property
    def tied(self) -> bool:
        """Whether the head is the transposed embedding."""
        return self.ends.tied

    @property
    def names_rows(self) -> bool:
        """Whether a part tells the rows of a batch apart."""
        return any(part.names_rows for part in self.parts.values())

    def shapes(self) -> Shapes:
        """Shapes of all parameters."""
        parts = merged(prefixed(name, part.shapes()) for name, part in self.parts.items())
        return self.ends.first() | parts | {FINAL: (self.width,)} | self.ends.last()

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values, in the order of `shapes`: a pure function of the generator."""
        params = self.ends.init_first(rng, dtype)
        for name, part in self.parts.items():
            params |= prefixed(name, part.init(rng, dtype))
        params[FINAL] = np.ones(self.width, dtype)
        return params | self.ends.init_last(rng, dtype)
