"""Windows of series, and at each token the values that follow.

The label of token t for step h is x[t + h] of each target; it is NaN, and not scored, where that
value or the target's own value at t is missing: a forecast goes on from the last value.
Training windows end before the held-out part, with their labels. Held-out tokens are scored once
each, and see at least half a window of what came before them, if there is so much.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcore.data.series.record import Series
from mcore.data.series.split import cut_in_time
from mcore.data.series.statistics import Statistics, of_channels, positive
from mcore.data.task import TRAIN, Batch, random_stream
from mcore.errors import DataError


class Ahead(NamedTuple):
    """What is forecast: the places of the targets among the channels, and how far."""

    columns: tuple[str, ...]
    targets: tuple[int, ...]
    horizon: int


class Held(NamedTuple):
    """A series, and the token from which on it is scored."""

    x: NDArray[Any]
    start: int


class Forecast:
    """Rows of `length` tokens and what follows each of them.

    Attributes:
        train: (T, C) arrays, each all that training may see of a series.
        held: what is scored.
    """

    def __init__(self, train: Sequence[NDArray[Any]], held: Sequence[Held], ahead: Ahead) -> None:
        self.train, self.held, self.ahead = list(train), list(held), ahead

    def check(self) -> None:
        """Raise DataError if a step ahead is never there to learn from, or nothing is scored."""
        seen = np.zeros(self.ahead.horizon * len(self.ahead.targets), bool)
        for labels in self._labels:
            seen |= ~np.isnan(labels).all(axis=0)
        if not seen.all():
            step, target = divmod(int(np.argmin(seen)), len(self.ahead.targets))
            name = self.ahead.columns[self.ahead.targets[target]]
            what = f"no value of {name!r} in the training part has another {step + 1} tokens later"
            remedy = "a smaller horizon" if step else "longer series, or fewer missing values,"
            raise DataError(f"data.horizon: {what}; {remedy} would do")
        held = [follow(x, self.ahead)[start:] for x, start in self.held]
        if not any((~np.isnan(labels)).any() for labels in held):
            raise DataError("data: the held-out part holds nothing to score; make it longer")

    def statistics(self) -> Statistics:
        """Of the channels, and `head.std`: the root mean square of what is to be forecast."""
        found = of_channels(self.train, self.ahead.columns)
        changes = [follow(x, self.ahead) - _last(x, self.ahead) for x in self.train]
        every = np.concatenate(changes)
        count = np.maximum((~np.isnan(every)).sum(axis=0), 1)
        size = np.sqrt(np.nansum(every**2, axis=0) / count)
        return found | {"head.mean": np.zeros_like(size), "head.std": positive(size)}

    def batch(self, length: int, rows: int, seed: int, step: int) -> Batch:
        """`rows` windows at random places, every place alike."""
        rng, ends = random_stream(seed, TRAIN, step), self._ends(length)
        picks = rng.integers(0, ends[-1], rows)
        which = np.searchsorted(ends, picks, side="right")
        starts = picks - np.concatenate([[0], ends])[which]
        windows = [
            (self.train[i][s : s + length], self._labels[i][s : s + length])
            for i, s in zip(which, starts, strict=True)
        ]
        return stacked(windows, length, rows)

    def held_out(self, length: int) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """(tokens, labels) of windows that overlap by half, each held-out token scored once."""
        stride = max(length // 2, 1)
        for x, start in self.held:
            labels = follow(x, self.ahead)
            while start < len(x):
                begin = max(start - (length - stride), 0)
                end = min(begin + length, len(x))
                scored = labels[begin:end].copy()
                scored[: start - begin] = np.nan
                yield x[begin:end], scored
                start = end

    @cached_property
    def _labels(self) -> list[NDArray[Any]]:
        return [follow(x, self.ahead) for x in self.train]

    def _ends(self, length: int) -> NDArray[np.int64]:
        """The number of places for a window in the first series, in the first two, and so on."""
        return np.cumsum([max(len(x) - length, 1) for x in self.train])


def forecast_of(
    series: Sequence[Series], test: Sequence[Series], ahead: Ahead, share: float
) -> Forecast:
    """The test series are held out, or else the last share of each series.

    Raises: DataError when there is nothing to train on, or nothing to score.
    """
    cuts = [len(s.x) if test else cut_in_time(s, share) for s in series]
    train = [s.x[:cut] for s, cut in zip(series, cuts, strict=True)]
    held = [Held(s.x, 0) for s in test]
    held = held or [Held(s.x, cut) for s, cut in zip(series, cuts, strict=True)]
    found = Forecast(train, held, ahead)
    found.check()
    return found


def follow(x: NDArray[Any], ahead: Ahead) -> NDArray[Any]:
    """Labels (T, O) of a series (T, C): the targets of the next token, of the one after, ..."""
    targets = x[:, list(ahead.targets)]
    steps = []
    for h in range(1, ahead.horizon + 1):
        later = np.full_like(targets, np.nan)
        later[:-h] = targets[h:]
        steps.append(later)
    labels = np.concatenate(steps, axis=1)
    return np.where(np.isnan(_last(x, ahead)), np.nan, labels)


def stacked(windows: Sequence[tuple[NDArray[Any], NDArray[Any]]], length: int, rows: int) -> Batch:
    """A batch of `rows` rows of `length` tokens; what is not filled is 0 and not scored."""
    (x, y), *_ = windows
    tokens = np.zeros((rows, length, x.shape[1]))
    labels = np.full((rows, length, y.shape[1]), np.nan)
    for row, (each, label) in enumerate(windows):
        tokens[row, : len(each)], labels[row, : len(label)] = each, label
    return Batch(tokens, labels)


def _last(x: NDArray[Any], ahead: Ahead) -> NDArray[Any]:
    """The value that each output goes on from, (T, O)."""
    return np.tile(x[:, list(ahead.targets)], (1, ahead.horizon))
