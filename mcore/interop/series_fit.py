"""From arrays of series to a trained model, without files and run folders."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.data.series.rows import Labelled, Rows
from mcore.data.series.task import SeriesTask
from mcore.model import Model
from mcore.spec import read_spec
from mcore.spec.compile import compile as compile_model
from mcore.training.sample import optimizer_of
from mcore.training.step import take_step

ROWS = 256
"""Rows that are answered at a time."""


class Settings(NamedTuple):
    """Sizes of a network and how it is trained; the words are those of a spec."""

    memory: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    dtype: str
    threads: int


def fit_rows(x: Array, labels: Array, data: dict[str, Any], settings: Settings) -> Model:
    """A model trained on rows (N, T, C) and the label of each (N,).

    Args:
        x: NaN where a value is missing.
        labels: numbers of classes, or values.
        data: `head` and what belongs to it, as in the data section of a spec.
        settings: of the network and its training.

    Raises:
        SpecError: a setting that is wrong.
        NonFiniteError: training diverged.
    """
    columns = [f"c{channel}" for channel in range(x.shape[2])]
    section = {"task": "series", "columns": columns, "length": x.shape[1], **data}
    spec = read_spec(
        {
            "model": settings.model,
            "memory": settings.memory,
            "data": section,
            "train": settings.train,
            "backend": {"kind": "numba", "threads": settings.threads},
            "dtype": settings.dtype,
        }
    )
    model, train = compile_model(spec), spec.train
    values = data["head"] == "regress"
    task = _task(x, labels, columns, (min(train.batch, len(x)), train.seed, values))
    model.standardise(task.statistics())
    optimizer = optimizer_of(model)
    for step in range(1, train.steps + 1):
        take_step(step, task.train_batch(step), model, optimizer, train)
    return model


def answers(model: Model, x: Array) -> Array:
    """Outputs (N, O) at the last token of rows (N, T, C)."""
    pieces = [model.forward(x[at : at + ROWS])[0][:, -1] for at in range(0, len(x), ROWS)]
    return np.concatenate(pieces)


def _task(
    x: Array, labels: Array, columns: Sequence[str], sizes: tuple[int, int, bool]
) -> SeriesTask:
    rows = [Labelled(row, float(label)) for row, label in zip(x, labels, strict=True)]
    batch, seed, values = sizes
    return SeriesTask(Rows(rows, [], columns), x.shape[1], batch, seed, values)
