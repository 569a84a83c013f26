"""Where NaN or infinity first shows."""

from collections.abc import Mapping

import numpy as np

from mcore.arrays import Array


def first_nonfinite(arrays: Mapping[str, Array]) -> str | None:
    """Name of the first array, in the mapping's order, with an entry that is not finite."""
    return next((name for name, a in arrays.items() if not np.isfinite(a).all()), None)
