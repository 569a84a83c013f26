"""How many states a backward pass keeps at once, and how many blocks share the room for them."""

import math
from typing import NamedTuple

BLOCKS = 264
"""Of a grid whose blocks take one task after another: two for each multiprocessor of an H100."""

ROOM = 2 << 30
"""Bytes of scratch that a backward pass may take, if one block can do with it."""


class Replay(NamedTuple):
    """The parts of `cuda/replay.cuh`, for segments of up to `steps` steps.

    Attributes:
        places: states that a block has room for, with one of work.
        top, middle: steps of a part.
        tops, middles: the most parts.
    """

    places: int
    top: int
    middle: int
    tops: int
    middles: int


def planned(steps: int, levels: int) -> Replay:
    """States at about the `levels`-th root of the steps, for 2 or 3 levels."""
    middle = max(1, math.ceil(steps ** (1 / levels)))
    top = max(1, steps) if levels == 2 else middle * middle
    tops, middles = (-(-max(1, whole) // part) for whole, part in ((steps, top), (top, middle)))
    return Replay(tops + middles + middle + 1, top, middle, tops, middles)


def shared_out(steps: int, tasks: int, state: int, more: int = 0) -> tuple[Replay, int]:
    """A plan, and the number of blocks: as many as are useful and have room.

    Args:
        steps: of the longest segment.
        tasks: for the blocks to do.
        state: bytes of a state.
        more: states' worth of scratch that a block needs besides.
    """
    most = min(tasks, BLOCKS)
    for levels in (2, 3):
        plan = planned(steps, levels)
        blocks = ROOM // ((plan.places + more) * state)
        if blocks >= most:
            return plan, most
    return plan, max(1, blocks)
