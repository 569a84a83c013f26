"""A stand-in for a task where types and sizes matter only: random batches, a fresh optimizer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcore.data import Batch, PackedBatch
from mcore.model import Model
from mcore.model.series_ends import SeriesEnds
from mcore.model.series_heads import Classes
from mcore.training.optim import AdamW, make_optimizer
from mcore.training.truncate import AnyBatch, Piece


def optimizer_of(model: Model) -> AdamW:
    """The optimizer that the spec names, before its first step."""
    return make_optimizer(model, model.spec.train.optimizer)


def sample(model: Model, rows: int, length: int) -> Iterator[AnyBatch]:
    """Random batches of the types that the spec trains on: two if rows are trained in pieces."""
    tokens, labels = _drawn(model, rows, length)
    if getattr(model.spec.data, "documents", False):
        yield PackedBatch(tokens, labels, _documents(rows, length))
    elif model.spec.train.truncate is None:
        yield Batch(tokens, labels)
    else:
        _, saved = model.loss(tokens, labels)
        yield Piece(tokens, labels, {})
        yield Piece(tokens, labels, model.end(saved))


def _drawn(model: Model, rows: int, length: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Random data, and a label for each token; for each output where outputs are values."""
    rng = np.random.default_rng(0)
    if model.channels is None:
        tokens, labels = rng.integers(0, model.vocab, (2, rows, length))
        return tokens, labels
    x = rng.standard_normal((rows, length, model.channels))
    if isinstance(model.ends, SeriesEnds) and isinstance(model.ends.head, Classes):
        return x, rng.integers(0, model.outputs, (rows, length))
    return x, rng.standard_normal((rows, length, model.outputs))


def _documents(rows: int, length: int) -> NDArray[np.int64]:
    """Two documents a row."""
    ids = np.repeat([0, 1], [length // 2, length - length // 2])
    return np.tile(ids, (rows, 1)).astype(np.int64)
