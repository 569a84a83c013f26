"""Random starting values: drawn in float64, then rounded, so that both dtypes start alike."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from mcore.arrays import Array


def normal(rng: np.random.Generator, shape: Sequence[int], std: float, dtype: DTypeLike) -> Array:
    """Independent normal numbers of mean 0 and standard deviation `std`."""
    return (rng.standard_normal(shape) * std).astype(dtype)


def fan_in(
    rng: np.random.Generator, shape: Sequence[int], dtype: DTypeLike, gain: float = 1.0
) -> Array:
    """Normal numbers that keep the size of what they multiply: std = gain / sqrt(fan-in).

    Shape (..., I, O), as `linear` takes it; the fan-in is I. A projection that ends a residual
    branch takes gain = (2 depth)^-1/2, so that the sum over the branches keeps its size.
    """
    return normal(rng, shape, gain * shape[-2] ** -0.5, dtype)


def depthwise(rng: np.random.Generator, channels: int, width: int, dtype: DTypeLike) -> Array:
    """Filters of `short_conv`: uniform within +-1/sqrt(width). Shape (channels, width)."""
    return rng.uniform(-(width**-0.5), width**-0.5, (channels, width)).astype(dtype)
