"""Rows of a plan: a part of the network, and what stands before and after the blocks."""

from dataclasses import dataclass

import numpy as np

from mcore.model.ends import Ends
from mcore.model.part import Shapes


@dataclass(frozen=True)
class PlanRow:
    """One part of the network."""

    name: str
    what: str
    parameters: int
    flops: float
    state_bytes: int


def first_row(ends: Ends) -> PlanRow:
    """What makes vectors of the data."""
    name, what = ("embedding", "lookup")
    if ends.channels is not None:
        name, what = "input", f"{ends.channels} channels"
    return PlanRow(name, what, _numbers(ends.first()), ends.flops()[0], 0)


def last_row(ends: Ends, itemsize: int) -> PlanRow:
    """What makes outputs of vectors."""
    what = "where labelled" if ends.channels is None else f"{ends.outputs} outputs"
    state = ends.state_bytes(itemsize)
    return PlanRow("head", what, _numbers(ends.last()), ends.flops()[1], state)


def _numbers(shapes: Shapes) -> int:
    return sum(int(np.prod(shape)) for shape in shapes.values())
