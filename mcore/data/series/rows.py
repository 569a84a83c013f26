"""Whole rows, and the label of each: a class or a value, at the row's last token."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcore.data.series.csv_file import number
from mcore.data.series.record import Series
from mcore.data.series.split import split_rows
from mcore.data.series.statistics import Statistics, of_channels, positive
from mcore.data.task import TRAIN, Batch, random_stream
from mcore.errors import DataError


class Labelled(NamedTuple):
    """A row (T, C) and its label: the number of a class, or a value."""

    x: NDArray[Any]
    label: float


class Rows:
    """Rows that are read whole; `classes` is empty where labels are values."""

    def __init__(
        self, train: Sequence[Labelled], held: Sequence[Labelled], columns: Sequence[str]
    ) -> None:
        self.train, self.held, self.columns = list(train), list(held), columns

    def statistics(self, values: bool) -> Statistics:
        """Of the channels; if labels are values, `head.mean` and `head.std` of them."""
        found = of_channels([row.x for row in self.train], self.columns)
        if not values:
            return found
        labels = np.array([row.label for row in self.train])
        return found | {"head.mean": labels.mean()[None], "head.std": positive(labels.std()[None])}

    def batch(self, rows: int, seed: int, step: int) -> list[Labelled]:
        """The rows of a step: all rows once in random order, then once more, and so on."""
        count = len(self.train)
        places = range(step * rows, (step + 1) * rows)
        rounds = {place // count for place in places}
        orders = {each: random_stream(seed, TRAIN, each).permutation(count) for each in rounds}
        return [self.train[orders[place // count][place % count]] for place in places]


def rows_of(
    series: Sequence[Series], test: Sequence[Series], columns: Sequence[str], share: float
) -> tuple[list[Series], list[Series]]:
    """(training, held-out) rows: the test rows, or else a share of all."""
    if test:
        return list(series), list(test)
    if len(series) < 2:
        raise DataError("data: one row in all; two would do, one to train on and one held out")
    return split_rows(series, share)


def labelled(series: Sequence[Series], classes: Sequence[str], length: int) -> list[Labelled]:
    """Rows with their labels as numbers.

    Raises: DataError for a row that is too long, has no label, or one that is unknown.
    """
    return [_labelled(each, classes, length) for each in series]


def batch_of(rows: Sequence[Labelled], length: int, size: int, values: bool) -> Batch:
    """`size` rows of `length` tokens, zeros after each row's end, scored at its last token.

    Shapes: labels (B, T) of classes, -1 = not scored; (B, T, 1) of values, NaN = not scored.
    """
    tokens = np.zeros((size, length, rows[0].x.shape[1]))
    labels = np.full((size, length), np.nan) if values else np.full((size, length), -1)
    for place, (x, label) in enumerate(rows):
        tokens[place, : len(x)] = x
        labels[place, len(x) - 1] = label
    return Batch(tokens, labels[..., None] if values else labels)


def grouped(rows: Sequence[Labelled], size: int) -> Iterator[Sequence[Labelled]]:
    """`size` rows at a time."""
    return (rows[at : at + size] for at in range(0, len(rows), size))


def _labelled(series: Series, classes: Sequence[str], length: int) -> Labelled:
    name, x, label = series
    if len(x) > length:
        what = f"{len(x)} tokens, and data.length is {length}"
        raise DataError(f"{name}: has {what}; rows are read whole, so length: {len(x)} would do")
    if label is None:
        raise DataError(f"{name}: has no label; set data.label to the column that holds it")
    if not classes:
        value = number(label, f"{name}: the label")
        if np.isnan(value):
            raise DataError(f"{name}: its label is missing; drop the row")
        return Labelled(x, value)
    if label not in classes:
        known = ", ".join(classes[:12])
        raise DataError(f"{name}: label {label!r} is not among data.classes ({known}); add it")
    return Labelled(x, classes.index(label))
