"""How well a model does on held-out batches."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mcore.data import Batch
from mcore.errors import NonFiniteError
from mcore.layers.loss import shown
from mcore.model.room import within
from mcore.training.finite import find_place, loss_of, message
from mcore.training.protocols import Trainable
from mcore.training.value_errors import ValueErrors


@dataclass(frozen=True)
class Evaluation:
    """Averages over all labels.

    Attributes:
        loss: mean nats a label; of real values, the mean cost of a standardised error.
        metric: name of `value`.
        value: `accuracy` is the share of labels ranked first, `bits_per_byte` is loss / ln 2,
            `mae` the mean absolute error in the data's units.
        more: other numbers by name.
    """

    loss: float
    metric: str
    value: float
    more: Mapping[str, float] = field(default_factory=dict)

    def better_than(self, best: float | None) -> bool:
        """Whether this is the best value so far; ties go to the earlier one."""
        if best is None:
            return True
        return self.value > best if self.metric == "accuracy" else self.value < best

    def to_json(self) -> dict[str, Any]:
        """Plain data, `more` only if there is any."""
        content = asdict(self)
        if not self.more:
            del content["more"]
        return content


def evaluate(model: Trainable, batches: Iterable[Batch], metric: str, step: int) -> Evaluation:
    """Average of a model's losses over batches, every label counting alike.

    Raises: NonFiniteError, naming the step and the place, when a loss is NaN or infinite.
    """
    nats, count, correct, errors = 0.0, 0, 0, ValueErrors()
    for batch in batches:
        with np.errstate(all="ignore"), within(model, *batch.tokens.shape[:2]):
            found, _ = loss_of(f"after step {step}", batch, model)
            part = shown(found)
        if not np.isfinite(part.value):
            what, place = f"the held-out loss ({part.value})", find_place(model, batch)
            raise NonFiniteError(message(f"after step {step}", what, place))
        nats += part.value * part.count
        count += part.count
        correct += part.correct
        if metric == "mae":
            errors.add(model, batch)
    if metric == "mae":
        return Evaluation(nats / count, metric, *errors.scores())
    return score(nats / count, correct / count, metric)


def score(loss: float, accuracy: float, metric: str) -> Evaluation:
    """The evaluation with these averages; of real values, their loss alone."""
    if metric == "mae":
        return Evaluation(loss, "loss", loss)
    return Evaluation(loss, metric, accuracy if metric == "accuracy" else loss / math.log(2.0))
