"""NaN where a program may find memory that nobody has written to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from mcore.arrays import Array

EACH = 8
"""Blocks freed of each size; NumPy keeps up to 7 small ones for the next array of that size."""


@contextmanager
def poisoned(sizes: Sequence[int], value: float) -> Iterator[None]:
    """Within the block `np.empty` and `np.empty_like` hand out arrays full of `value`; and memory
    that was full of it has been freed just before, in blocks of these numbers of entries."""
    for dtype in (np.float64, np.float32):
        held = [np.full(size, value, dtype) for size in sizes for _ in range(EACH)]
        del held
    with (
        patch.object(np, "empty", _filled(np.empty, value)),
        patch.object(np, "empty_like", _filled(np.empty_like, value)),
    ):
        yield


def _filled(make: Any, value: float) -> Any:
    def filled(*arguments: Any, **options: Any) -> Array:
        array: Array = make(*arguments, **options)
        if array.dtype.kind == "f":
            array.fill(value)
        return array

    return filled
