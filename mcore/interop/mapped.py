"""A function of arrays, applied to arrays with mapped axes in front: in one call where that can be.

JAX and PyTorch say `vmap` with one more axis in front of every array, of length 1 where an array
is not mapped. Rows of a batch do not depend on each other, nor do heads: such an axis is folded
into B, or into H where a parameter is mapped or needs a gradient for each place.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array

Arrays = dict[str, Array]
Function = Callable[[Arrays], Arrays]


class Folding(NamedTuple):
    """An axis that mapped axes may be folded into.

    Attributes:
        places: of that axis in the arrays that have it, by name, among those that come out too.
        whole: names of arrays without it, which must not be mapped.
    """

    places: Mapping[str, int]
    whole: frozenset[str]

    def fits(self, fronts: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether arrays with these axes in front can be folded so."""
        others = fronts.keys() - self.places.keys()
        return others <= self.whole and all(prod(fronts[name]) == 1 for name in others)


def over_mapped(
    function: Function, arrays: Arrays, ranks: Mapping[str, int], foldings: Sequence[Folding]
) -> Arrays:
    """`function` of arrays that have more axes than `ranks` says: those are mapped.

    Args:
        function: takes and returns arrays by name.
        arrays: all with the same number of mapped axes in front, each of full length or of 1.
        ranks: number of axes of each array that are not mapped.
        foldings: the first that fits is used; if none does, there is one call for each place of
            the mapped axes.

    Returns:
        Arrays with the mapped axes, at full length, in front.
    """
    fronts = {name: x.shape[: x.ndim - ranks[name]] for name, x in arrays.items()}
    front = np.broadcast_shapes(*fronts.values())
    if not front:
        return function(arrays)
    for folding in foldings:
        if folding.fits(fronts):
            return _folded(function, arrays, front, folding.places)
    found = [function(_at(arrays, fronts, place)) for place in np.ndindex(*front)]
    return {
        name: np.stack([one[name] for one in found]).reshape(*front, *x.shape)
        for name, x in found[0].items()
    }


def _folded(
    function: Function, arrays: Arrays, front: tuple[int, ...], places: Mapping[str, int]
) -> Arrays:
    folded = {
        name: _merged(x, front, places[name])
        if name in places
        else x.reshape(x.shape[len(front) :])
        for name, x in arrays.items()
    }
    return {name: _split(y, front, places[name]) for name, y in function(folded).items()}


def _merged(x: Array, front: tuple[int, ...], place: int) -> Array:
    """(*front, ..., n, ...) to (..., *front n, ...), n being the axis at `place` of the rest."""
    axes = len(front)
    core = x.shape[axes:]
    full = np.broadcast_to(x, (*front, *core))
    moved = np.moveaxis(full, range(axes), range(place, place + axes))
    return moved.reshape(*core[:place], -1, *core[place + 1 :])


def _split(y: Array, front: tuple[int, ...], place: int) -> Array:
    """Back again."""
    axes = len(front)
    wide = y.reshape(*y.shape[:place], *front, -1, *y.shape[place + 1 :])
    return np.moveaxis(wide, range(place, place + axes), range(axes))


def _at(arrays: Arrays, fronts: Mapping[str, tuple[int, ...]], place: tuple[int, ...]) -> Arrays:
    """The arrays at one place of the mapped axes."""
    return {
        name: x[tuple(min(i, size - 1) for i, size in zip(place, fronts[name], strict=True))]
        for name, x in arrays.items()
    }
