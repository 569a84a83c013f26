"""What a task is: labelled batches, each a pure function of the seed and the step."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

TRAIN, HELD_OUT = 0, 1


class Batch(NamedTuple):
    """Rows of tokens and what to predict at each of them.

    Shapes: tokens (B, T) int64; labels (B, T) int64, -1 where nothing is scored. Of series, tokens
    (B, T, C) float64; labels of classes (B, T), of values (B, T, O), NaN where nothing is scored.
    """

    tokens: NDArray[Any]
    labels: NDArray[Any]


class PackedBatch(NamedTuple):
    """A batch whose rows hold several documents: `document` (B, T) int64 are their ids."""

    tokens: NDArray[np.int64]
    labels: NDArray[np.int64]
    document: NDArray[np.int64]


class Task(Protocol):
    """A source of training batches and of a fixed held-out set."""

    @property
    def vocab(self) -> int:
        """Number of tokens; every token and label is below it."""

    @property
    def metric(self) -> str:
        """How a model is judged: `accuracy` (more is better); `bits_per_byte`, `mae` (less is)."""

    @property
    def description(self) -> str:
        """One line that says what the data are; differs when the data differ."""

    def train_batch(self, step: int) -> Batch | PackedBatch:
        """The batch of a step: the same for the same seed and step, whatever came before."""

    def eval_batches(self) -> Iterator[Batch]:
        """The held-out set, the same at every call."""


def random_stream(seed: int, stream: int, index: int) -> np.random.Generator:
    """A generator of its own for each (seed, stream, index), as independent as NumPy makes them."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, index)))


def group(parts: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The rows of all parts in batches of exactly `size`.

    The last batch is filled up with rows that score nothing (token 0, label -1): all batches have
    one shape, as a segmentation that lists the lengths of each row needs.
    """
    rows = itertools.chain.from_iterable(zip(*part, strict=True) for part in parts)
    while some := list(itertools.islice(rows, size)):
        tokens, labels = (np.stack(column) for column in zip(*some, strict=True))
        missing = ((0, size - len(some)), (0, 0))
        yield Batch(np.pad(tokens, missing), np.pad(labels, missing, constant_values=-1))
