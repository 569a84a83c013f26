"""Feeds of different lengths as rectangles: each is one call for all streams that reach so far."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array


class Rectangle(NamedTuple):
    """Tokens begin <= t < end of the feeds `members`, all of which are as long as that."""

    members: Array
    begin: int
    end: int


def rectangles(lengths: Sequence[int]) -> Iterator[Rectangle]:
    """The fewest rectangles that cover feeds of these lengths, from the left.

    Lengths 5, 2, 5 are tokens 0 to 2 of all three, then 2 to 5 of the first and the last.
    """
    each, begin = np.array(lengths), 0
    for end in np.unique(each).tolist():
        yield Rectangle(np.flatnonzero(each >= end), begin, end)
        begin = end
