"""How far real values are from their labels, beside the simplest guess."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.data import Batch
from mcore.errors import InputError
from mcore.model.network import Model
from mcore.model.series_ends import SeriesEnds
from mcore.model.series_heads import Values
from mcore.placing import to_host
from mcore.training.protocols import Trainable


@dataclass
class ValueErrors:
    """Sums over all scored values.

        mae = mean |e|,   rmse = sqrt(mean e^2),   skill = 1 - sum |e| / s / (sum |e0| / s)

    e is output - label in the data's units; e0 is that of the simplest guess: the last value of a
    forecast's target (persistence), the mean of all training labels for rows. s is the standard
    deviation of the target, so that several targets count alike. A skill of 0 is as good as the
    guess, 1 is without error, below 0 is worse than the guess.
    """

    count: int = 0
    absolute: float = 0.0
    squared: float = 0.0
    guess: float = 0.0
    scaled: float = 0.0
    guess_scaled: float = 0.0

    def add(self, model: Trainable, batch: Batch) -> None:
        """Those of a batch.

        Raises: InputError when the model is not one of real values.
        """
        head, arrays = _head_of(model), dict(model.arrays)
        outputs = to_host(model.forward(batch.tokens)[0])  # type: ignore[attr-defined]
        scored = ~np.isnan(batch.labels)
        scale = np.broadcast_to(head.scale(arrays), batch.labels.shape)[scored]
        error = np.abs(outputs - batch.labels)[scored]
        guess = np.abs(head.origin(arrays, batch.tokens) - batch.labels)[scored]
        self.count += int(scored.sum())
        self.absolute += float(error.sum())
        self.squared += float((error**2).sum())
        self.guess += float(guess.sum())
        self.scaled += float((error / scale).sum())
        self.guess_scaled += float((guess / scale).sum())

    def scores(self) -> tuple[float, dict[str, float]]:
        """mae, and by name: rmse, skill, and `guess_mae`, the mae of the simplest guess."""
        count = max(self.count, 1)
        skill = 1 - self.scaled / self.guess_scaled if self.guess_scaled else 0.0
        rmse = float(np.sqrt(self.squared / count))
        more = {"rmse": rmse, "skill": skill, "guess_mae": self.guess / count}
        return self.absolute / count, more


def _head_of(model: Any) -> Values:
    ends = model.ends if isinstance(model, Model) else None
    if isinstance(ends, SeriesEnds) and isinstance(ends.head, Values):
        return ends.head
    raise InputError("mae: the model gives no real values; a spec with task: series would do")
