"""A function of arrays, applied to arrays with mapped axes in front: in one call where that can be.

JAX and PyTorch say `vmap` with one more axis in front of every array, of length 1 where an array
is not mapped. Rows of a batch do not depend on each other, so that axis is folded into B.
"""

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from mcore.arrays import Array

Arrays = dict[str, Array]
Function = Callable[[Arrays], Arrays]


def over_mapped(
    function: Function, arrays: Arrays, ranks: Mapping[str, int], rows: frozenset[str]
) -> Arrays:
    """`function` of arrays that have more axes than `ranks` says: those are mapped.

    Args:
        function: takes and returns arrays by name. What it returns has B as its first axis if
            `rows` holds every name.
        arrays: all with the same number of mapped axes in front, each of full length or of 1.
        ranks: number of axes of each array that are not mapped.
        rows: names of the arrays whose first axis is B. If no other array is mapped, the mapped
            axes are folded into B; else there is one call for each of their places.

    Returns:
        Arrays with the mapped axes, at full length, in front.
    """
    fronts = {name: x.shape[: x.ndim - ranks[name]] for name, x in arrays.items()}
    front = np.broadcast_shapes(*fronts.values())
    if not front:
        return function(arrays)
    if all(prod(fronts[name]) == 1 for name in arrays.keys() - rows):
        return _folded(function, arrays, front, rows)
    found = [function(_at(arrays, fronts, place)) for place in np.ndindex(*front)]
    return {
        name: np.stack([one[name] for one in found]).reshape(*front, *x.shape)
        for name, x in found[0].items()
    }


def _folded(
    function: Function, arrays: Arrays, front: tuple[int, ...], rows: frozenset[str]
) -> Arrays:
    axes, folded = len(front), {}
    for name, x in arrays.items():
        core = x.shape[axes:]
        if name in rows:
            folded[name] = np.broadcast_to(x, (*front, *core)).reshape(-1, *core[1:])
        else:
            folded[name] = x.reshape(core)
    return {n: y.reshape(*front, -1, *y.shape[1:]) for n, y in function(folded).items()}


def _at(arrays: Arrays, fronts: Mapping[str, tuple[int, ...]], place: tuple[int, ...]) -> Arrays:
    """The arrays at one place of the mapped axes."""
    return {
        name: x[tuple(min(i, size - 1) for i, size in zip(place, fronts[name], strict=True))]
        for name, x in arrays.items()
    }
