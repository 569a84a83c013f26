"""Simple answers to series, in plain NumPy: what a network has to beat.

Classes: rows (T, C), which may differ in T. Forecasts: one series (T, C), targets as columns.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
Labels = NDArray[Any]


class Split(NamedTuple):
    """Rows to learn from, their classes, and rows to answer."""

    x: Sequence[Floats]
    y: Labels
    test: Sequence[Floats]


def majority(split: Split) -> Labels:
    """The most frequent class."""
    return np.full(len(split.test), np.bincount(split.y).argmax())


def nearest(split: Split) -> Labels | None:
    """The class of the row at the smallest Euclidean distance; None if rows differ in length."""
    if len({len(row) for row in (*split.x, *split.test)}) > 1:
        return None
    x = np.stack(split.x)
    away = [((x - row) ** 2).sum(axis=(1, 2)).argmin() for row in split.test]
    return np.array(split.y[away])


def nearest_warped(split: Split) -> Labels:
    """The class of the row at the smallest dependent DTW distance, without a window."""
    lengths = np.array([len(row) for row in split.x])
    x = np.zeros((len(split.x), lengths.max(), split.x[0].shape[1]))
    for padded, row in zip(x, split.x, strict=True):
        padded[: len(row)] = row
    return np.array(split.y[[_warped(row, x, lengths).argmin() for row in split.test]])


def _warped(row: Floats, x: Floats, lengths: NDArray[Any]) -> Floats:
    """Distances of a row from all others; what is behind a row's end does not reach its end."""
    total = np.full((len(row) + 1, x.shape[1] + 1, len(x)), np.inf)
    total[0, 0] = 0
    for i, token in enumerate(row):
        cost = ((x - token) ** 2).sum(axis=-1).T
        for j in range(x.shape[1]):
            before = np.minimum(total[i, j], total[i, j + 1])
            total[i + 1, j + 1] = cost[j] + np.minimum(before, total[i + 1, j])
    return np.array(total[-1, lengths, np.arange(len(x))])


def ridge_of_summaries(split: Split) -> Labels:
    """Ridge regression of the classes on summaries of each channel; penalty by leave-one-out."""
    x, test = _summaries(split.x), _summaries(split.test)
    mean, std = x.mean(axis=0), x.std(axis=0) + 1e-12
    x, test = _with_one((x - mean) / std), _with_one((test - mean) / std)
    wanted = 2 * np.eye(split.y.max() + 1)[split.y] - 1
    penalty = min(10.0 ** np.arange(-3, 4), key=lambda p: _left_out(x, wanted, p))
    found: Labels = (test @ _ridge(x, wanted, penalty)).argmax(axis=1)
    return found


CLASSIFIERS: dict[str, Callable[[Split], Labels | None]] = {
    "most frequent class": majority,
    "1-NN, Euclidean": nearest,
    "1-NN, DTW": nearest_warped,
    "ridge on mean, std, min, max, mean change": ridge_of_summaries,
}


class Ahead(NamedTuple):
    """A series cut in two, and what is forecast of it."""

    x: Floats
    cut: int
    targets: tuple[int, ...]
    horizon: int


def following(ahead: Ahead) -> Floats:
    """(T, horizon, targets): what follows each token, NaN past the end."""
    y = np.full((len(ahead.x), ahead.horizon, len(ahead.targets)), np.nan)
    for h in range(ahead.horizon):
        y[: -h - 1, h] = ahead.x[h + 1 :, list(ahead.targets)]
    return y


def persistence(ahead: Ahead) -> Floats:
    """The last value, for every step."""
    last = ahead.x[:, None, list(ahead.targets)]
    return np.repeat(last, ahead.horizon, axis=1)


def autoregression(ahead: Ahead, order: int) -> Floats:
    """Least squares on the last `order` values of all channels, apart for each step.

    Fitted where both the values and what follows lie before the cut.
    """
    x, y = ahead.x, following(ahead)
    lags = np.concatenate([np.roll(x, lag, axis=0) for lag in range(order)], axis=1)
    mean, std = lags[order : ahead.cut].mean(axis=0), lags[order : ahead.cut].std(axis=0) + 1e-12
    features = _with_one((lags - mean) / std)
    fit = slice(order, ahead.cut - ahead.horizon)
    wanted = y[fit].reshape(fit.stop - fit.start, -1)
    weights = _ridge(features[fit], wanted, 1e-3)
    return (features @ weights).reshape(y.shape)


def _summaries(rows: Sequence[Floats]) -> Floats:
    found = []
    for x in rows:
        change = np.abs(np.diff(x, axis=0)).mean(axis=0)
        found.append(np.concatenate([x.mean(0), x.std(0), x.min(0), x.max(0), change]))
    return np.stack(found)


def _with_one(x: Floats) -> Floats:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _ridge(x: Floats, y: Floats, penalty: float) -> Floats:
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def _left_out(x: Floats, y: Floats, penalty: float) -> float:
    """Mean squared error of each row by the ridge of all others, in closed form."""
    hat = x @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T)
    residual = (y - hat @ y) / (1 - np.diag(hat))[:, None]
    return float((residual**2).mean())
