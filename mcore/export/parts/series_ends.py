"""Real numbers in and out: standardised channels, and classes or values from a linear head."""

from collections.abc import Mapping

import numpy as np

from mcore.arrays import Array
from mcore.export import ops
from mcore.export.algebra import rms_norm
from mcore.export.builder import Builder, Tensor
from mcore.export.declared import Declared
from mcore.export.program import Values as Tensors
from mcore.model import Model
from mcore.model.ends import FINAL, HEAD, INPUT
from mcore.model.series_ends import HEAD_BIAS, INPUT_BIAS, MEAN, STD, SUM, SeriesEnds
from mcore.model.series_heads import MEAN as HEAD_MEAN
from mcore.model.series_heads import STD as HEAD_STD
from mcore.model.series_heads import Values

MISSING = 0.1
"""Share of missing values in random data."""


class SeriesForm:
    """Data (B, C) of real numbers in their own units, float64 as in mcore; outputs (B, O)."""

    def __init__(self, model: Model, ends: SeriesEnds) -> None:
        self.ends, self.arrays, count = ends, model.arrays, ends.channels
        meaning = "values of the channels in their own units, NaN where one is missing"
        self.input = Declared("series", "B C", ("B", count), meaning, "float64")
        values = isinstance(ends.head, Values)
        meaning = "values in the data's units" if values else "logits of the classes"
        self.output = Declared("outputs", "B O", ("B", ends.outputs), meaning)

    def states(self) -> list[Declared]:
        """The sum of all tokens so far, if the head reads their mean."""
        meaning = "sum of the normed tokens so far"
        pooled = Declared(SUM, "B D", ("B", self.ends.width), meaning)
        return [pooled] if self.ends.pool else []

    def enter(self, x: Tensor) -> Tensor:
        """Standardised, then projected; what is missing counts as the mean."""
        builder = x.builder
        z = (x - self._fixed(builder, MEAN)) / self._fixed(builder, STD)
        z = ops.cast(ops.where(ops.is_nan(x), z.like(0.0), z), "float32")
        return ops.matmul(z, self._weight(builder, INPUT)) + self._weight(builder, INPUT_BIAS)

    def last(self, hidden: Tensor, state: Tensors, position: Tensor) -> tuple[Tensor, Tensors]:
        """The last norm, and the running mean, if the head reads it."""
        hidden = rms_norm(hidden, self._weight(hidden.builder, FINAL), self.ends.width)
        if not self.ends.pool:
            return hidden, {}
        total = state[SUM] + hidden
        return total / ops.expand(ops.cast(position + 1, "float32"), -1), {SUM: total}

    def leave(self, builder: Builder, hidden: Tensor, x: Mapping[str, Tensor]) -> Tensor:
        """The head's numbers, in the data's units where they are values."""
        raw = ops.matmul(hidden, self._weight(builder, HEAD)) + self._weight(builder, HEAD_BIAS)
        head = self.ends.head
        if not isinstance(head, Values):
            return raw
        y = ops.cast(raw, "float64") * self._fixed(builder, HEAD_STD)
        y = y + self._fixed(builder, HEAD_MEAN)
        if head.anchors:
            y = y + self._anchored(x[self.input.name], head.anchors)
        return ops.cast(y, "float32")

    def sample(self, rng: np.random.Generator, rows: int, tokens: int) -> Array:
        """Normal numbers (B, T, C) of the channels' means and deviations, some missing."""
        x = rng.standard_normal((rows, tokens, self.ends.channels))
        x[rng.random(x.shape) < MISSING] = np.nan
        return np.asarray(self.arrays[MEAN] + self.arrays[STD] * x)

    def _anchored(self, x: Tensor, anchors: tuple[int, ...]) -> Tensor:
        """The values that outputs are counted from; the channel's mean where one is missing."""
        mean = x.builder.constant(np.asarray(self.arrays[MEAN], np.float64))
        there = ops.where(ops.is_nan(x), mean, x)
        return ops.picked(there, anchors)

    def _weight(self, builder: Builder, name: str) -> Tensor:
        return builder.weight(name, self.arrays[name])

    def _fixed(self, builder: Builder, name: str) -> Tensor:
        return builder.constant(np.asarray(self.arrays[name], np.float64))
