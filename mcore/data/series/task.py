"""Real-valued sequences as a task: forecasts, or the label of whole rows."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mcore.data.series.forecast import Ahead, Forecast, forecast_of, stacked
from mcore.data.series.paths import read_paths
from mcore.data.series.record import Wanted
from mcore.data.series.rows import Rows, batch_of, grouped, labelled, rows_of
from mcore.data.series.statistics import Statistics
from mcore.data.task import Batch
from mcore.errors import DataError


class SeriesData(Protocol):
    """What is read of a spec's `data` when its task is `series`."""

    @property
    def task(self) -> Literal["series"]: ...
    @property
    def paths(self) -> tuple[str, ...]: ...
    @property
    def test(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def head(self) -> str: ...
    @property
    def target(self) -> tuple[str, ...]: ...
    @property
    def horizon(self) -> int: ...
    @property
    def label(self) -> str | None: ...
    @property
    def group(self) -> str | None: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def length(self) -> int: ...
    @property
    def validation(self) -> float: ...


@dataclass(frozen=True)
class SeriesTask:
    """Batches of `batch` rows of `length` tokens.

    Attributes:
        source: the data, split.
        values: whether labels are real numbers, and not classes.
    """

    source: Forecast | Rows
    length: int
    batch: int
    seed: int
    values: bool

    @property
    def vocab(self) -> int:
        """0: data are real numbers."""
        return 0

    @property
    def metric(self) -> str:
        """Mean absolute error in the data's units, or the share of rows whose class is right."""
        return "mae" if self.values else "accuracy"

    @cached_property
    def description(self) -> str:
        """Numbers of series and tokens, and a digest of all values."""
        train, held = (self._arrays(side) for side in (self.source.train, self.source.held))
        digest = hashlib.sha256(repr([x.shape for x in (*train, *held)]).encode())
        for x in (*train, *held):
            digest.update(np.ascontiguousarray(x).data)
        source, tokens = self.source, sum(len(row) for row in train)
        others = sum(len(row.x) - getattr(row, "start", 0) for row in source.held)
        digest.update(str(others).encode())
        return (
            f"series: {len(train)} with {tokens} tokens, "
            f"{len(held)} with {others} held out ({digest.hexdigest()[:12]})"
        )

    def statistics(self) -> Statistics:
        """The fixed arrays of a model, of the training data alone."""
        if isinstance(self.source, Forecast):
            return self.source.statistics()
        return self.source.statistics(self.values)

    def train_batch(self, step: int) -> Batch:
        """Random windows, or the next rows of an endless shuffled round."""
        if isinstance(self.source, Forecast):
            return self.source.batch(self.length, self.batch, self.seed, step)
        rows = self.source.batch(self.batch, self.seed, step)
        return batch_of(rows, self.length, self.batch, self.values)

    def eval_batches(self) -> Iterator[Batch]:
        """Every held-out token or row scored once; rows that fill a batch up score nothing."""
        if isinstance(self.source, Forecast):
            windows = list(self.source.held_out(self.length))
            for at in range(0, len(windows), self.batch):
                yield stacked(windows[at : at + self.batch], self.length, self.batch)
            return
        for rows in grouped(self.source.held, self.batch):
            yield batch_of(rows, self.length, self.batch, self.values)

    def _arrays(self, side: Any) -> list[NDArray[Any]]:
        """The values of a side, each row's label below it."""
        if isinstance(self.source, Forecast):
            return [each if isinstance(each, np.ndarray) else each.x for each in side]
        return [np.vstack([row.x, np.full((1, row.x.shape[1]), row.label)]) for row in side]


def series_task(data: SeriesData, batch: int, seed: int) -> SeriesTask:
    """The task that a spec's `data` describes.

    Raises: DataError when files are missing or wrong, or there is nothing to learn from.
    """
    if not data.paths:
        raise DataError("data.paths: no file is named; give paths: [files, patterns or folders]")
    values = data.head != "classify"
    label = data.label if data.head != "forecast" else None
    wanted = Wanted(data.columns, label, data.group)
    series, test = read_paths(data.paths, wanted), read_paths(data.test, wanted)
    source: Forecast | Rows
    if data.head == "forecast":
        targets = tuple(map(data.columns.index, data.target))
        ahead = Ahead(data.columns, targets, data.horizon)
        source = forecast_of(series, test, ahead, data.validation)
    else:
        sides = rows_of(series, test, data.columns, data.validation)
        train, held = (labelled(side, data.classes, data.length) for side in sides)
        source = Rows(train, held, data.columns)
    return SeriesTask(source, data.length, batch, seed, values)
