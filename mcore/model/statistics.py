"""Statistics of the training data: what a model holds and does not train."""

from collections.abc import Mapping

import numpy as np

from mcore.arrays import Array
from mcore.errors import InputError


def copy_statistics(fixed: Mapping[str, Array], given: Mapping[str, Array]) -> None:
    """Overwrite the fixed arrays by those of the same names; nothing is written if one is wrong.

    Raises:
        InputError: other names or shapes, a number that is not finite, a std that is not positive.
    """
    if set(fixed) != set(given):
        there, wanted = (", ".join(sorted(names)) or "none" for names in (given, fixed))
        raise InputError(f"statistics: {there} given; {wanted} expected")
    for name, array in fixed.items():
        value = np.asarray(given[name])
        if value.shape != array.shape:
            raise InputError(f"{name}: shape {value.shape}, expected {array.shape}")
        if not np.isfinite(value).all():
            raise InputError(f"{name}: not finite; finite numbers would do")
        if name.endswith("std") and not (value > 0).all():
            raise InputError(f"{name}: 0 or less; numbers above 0 would do")
    for name, array in fixed.items():
        array[...] = given[name]
