"""Means and standard deviations of the training data, where values are not missing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcore.errors import DataError

Statistics = dict[str, NDArray[Any]]
"""By the names of a model's fixed arrays."""


def of_channels(rows: Sequence[NDArray[Any]], columns: Sequence[str]) -> Statistics:
    """`input.mean` and `input.std` (C,) of rows (T, C); a channel that never changes has std 1.

    Raises: DataError when a channel has no value at all, or values too large to be squared.
    """
    x = np.concatenate(rows)
    empty = np.isnan(x).all(axis=0)
    if empty.any():
        name = columns[int(np.argmax(empty))]
        raise DataError(f"data.columns: {name!r} has no value in the training part; drop it")
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
    large = ~np.isfinite(mean + std)
    if large.any():
        name = columns[int(np.argmax(large))]
        raise DataError(f"data.columns: {name!r} has values too large to standardise; rescale it")
    return {"input.mean": mean, "input.std": positive(std)}


def positive(std: NDArray[Any]) -> NDArray[Any]:
    """1 in place of 0, and of the NaN of what was never seen."""
    return np.where(std > 0, std, 1.0)
