"""Data in their own units, made numbers of about 1; what is missing becomes the mean."""

import numpy as np
from numpy.typing import DTypeLike

from mcore.arrays import Array


def standardise(x: Array, mean: Array, std: Array, dtype: DTypeLike) -> Array:
    """Subtract the mean of each channel and divide by its standard deviation.

        z = (x - mean) / std,  and 0 where x is NaN: a missing value counts as the mean

    Computed in float64, then rounded: a large mean costs no digits of a float64 x. Data have no
    gradient, so there is no backward.

    Shapes: x (B, T, C), mean and std (C,) -> z (B, T, C) of `dtype`.
    """
    z = (x - mean) / std
    return np.where(np.isnan(z), 0.0, z).astype(dtype)
