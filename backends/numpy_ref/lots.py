"""Lots by which a random router chooses, from integers alone: see `mcore.router`."""

import numpy as np

from mcore.arrays import Array
from mcore.router import GOLDEN, MULTIPLIERS
from mcore.segments import Segments


def lots(seed: int, segments: Segments, heads: int) -> Array:
    """(B, T, H, columns) float64, whole numbers below 2^53; a checkpoint's counts where visible."""
    first = segments.first[np.arange(segments.rows)[:, None], segments.index]
    ordinal = np.arange(segments.columns) - first[..., None]
    drawn = _mix(np.full(1, seed, np.uint64))
    for part in (segments.place[..., None, None], np.arange(heads)[:, None], ordinal[:, :, None]):
        drawn = _mix(drawn ^ part.astype(np.uint64))
    return (drawn >> np.uint64(11)).astype(np.float64)


def _mix(z: Array) -> Array:
    """The finaliser of SplitMix64."""
    z = z + np.uint64(GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MULTIPLIERS[0])
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MULTIPLIERS[1])
    mixed: Array = z ^ (z >> np.uint64(31))
    return mixed
