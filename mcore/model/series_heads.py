"""What the head's numbers of a series model mean, and what they cost: classes or real values.

Labels of classes are whole numbers (B, T), -1 = not scored. Labels of values are real numbers
(B, T, O) in the data's own units, NaN = not scored.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mcore.arrays import Array
from mcore.errors import ShapeError
from mcore.layers.loss import Loss
from mcore.layers.series_loss import ValueCost, class_loss, value_loss
from mcore.model.part import Params
from mcore.placing import like, sent

MEAN, STD = "head.mean", "head.std"


class Head(Protocol):
    """What raw numbers (B, T, O) of the last projection stand for."""

    @property
    def outputs(self) -> int:
        """O."""

    def fixed(self) -> Params:
        """Arrays that are not trained."""

    def check_labels(self, data: Array, labels: Array) -> None:
        """Raise ShapeError if labels do not fit data (B, T, C)."""

    def finish(self, arrays: Params, raw: Array, data: Array) -> Array:
        """Outputs, of the raw numbers."""

    def finish_backward(self, arrays: Params, d_outputs: Array) -> Array:
        """Gradient of the raw numbers."""

    def loss(self, arrays: Params, raw: Array, data: Array, labels: Array) -> tuple[Loss, Any]:
        """What the raw numbers cost; see `layers/series_loss.py`."""


@dataclass(frozen=True)
class Classes:
    """Logits of `outputs` classes."""

    outputs: int

    def fixed(self) -> Params:
        """Nothing."""
        return {}

    def check_labels(self, data: Array, labels: Array) -> None:
        """(B, T)."""
        if labels.shape != data.shape[:2]:
            raise ShapeError(f"labels: shape {labels.shape}, expected (B, T) {data.shape[:2]}")

    def finish(self, arrays: Params, raw: Array, data: Array) -> Array:
        """As they are."""
        return raw

    def finish_backward(self, arrays: Params, d_outputs: Array) -> Array:
        """As it is."""
        return d_outputs

    def loss(self, arrays: Params, raw: Array, data: Array, labels: Array) -> tuple[Loss, Any]:
        """Cross-entropy in nats."""
        return class_loss(raw, labels)


@dataclass(frozen=True)
class Values:
    """Real values in the data's units: y = mean + std raw, counted from an anchor or from 0.

    Attributes:
        outputs: O.
        cost: of an error, in units of `head.std`.
        anchors: for each output, the channel of the same token whose value is added to it, as a
            forecast goes on from the last value; the channel's mean where it is missing. Empty: 0.
    """

    outputs: int
    cost: ValueCost
    anchors: tuple[int, ...] = ()

    def fixed(self) -> Params:
        """`head.mean` and `head.std` (O,) of label - anchor over the training data."""
        return {MEAN: np.zeros(self.outputs), STD: np.ones(self.outputs)}

    def check_labels(self, data: Array, labels: Array) -> None:
        """(B, T, O)."""
        wanted = (*data.shape[:2], self.outputs)
        if labels.shape != wanted:
            raise ShapeError(f"labels: shape {labels.shape}, expected (B, T, O) {wanted}")

    def finish(self, arrays: Params, raw: Array, data: Array) -> Array:
        """In the data's units."""
        y = raw * like(raw, arrays[STD]) + sent(raw, self.origin(arrays, data))
        return y.astype(raw.dtype)

    def finish_backward(self, arrays: Params, d_outputs: Array) -> Array:
        """Scaled by `head.std`."""
        return (d_outputs * like(d_outputs, arrays[STD])).astype(d_outputs.dtype)

    def loss(self, arrays: Params, raw: Array, data: Array, labels: Array) -> tuple[Loss, Any]:
        """Of errors in units of `head.std`."""
        wanted = (labels - self.origin(arrays, data)) / arrays[STD]
        return value_loss(raw, wanted.astype(raw.dtype), self.cost)

    def origin(self, arrays: Params, data: Array) -> Array:
        """What an output is when its raw number is 0: the simplest guess."""
        if not self.anchors:
            return arrays[MEAN]
        places = list(self.anchors)
        last = data[..., places].astype("float64")
        anchor = np.where(np.isnan(last), arrays["input.mean"][places], last)
        return np.asarray(arrays[MEAN] + anchor)

    def scale(self, arrays: Params) -> Array:
        """The standard deviation of what each output is about, (O,)."""
        return arrays["input.std"][list(self.anchors)] if self.anchors else arrays[STD]
