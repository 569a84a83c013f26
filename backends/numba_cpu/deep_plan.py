"""Which blocks of a segment are replayed when, so that each is followed back from what it found.

The memory before each block is needed, last block first. A segment of few blocks keeps all of them;
one of many keeps every r-th with r about the square root of their number, and replays r at a time.
"""

import math
from typing import Any

from mcore.backends.numba_cpu.caching import device

FEW = 16
NOWHERE = -1


def group(blocks: int) -> int:
    """The most blocks of a group, for segments of up to `blocks` blocks."""
    return max(min(blocks, FEW), math.isqrt(blocks) + 1 if blocks > FEW else 1)


def slots(blocks: int) -> int:
    """How many memories a segment of up to `blocks` blocks keeps."""
    return max(min(blocks, FEW), 2 * math.isqrt(blocks) + 2 if blocks > FEW else 1)


@device
def plan_segment(count: int, plan: Any) -> int:
    """Fill rows of `plan` (3 count, 4) for `count` blocks; returns how many.

    A row is a block, its place in its group, the slot of the memory before it (0: that of the
    segment's start), and the slot of the memory after it, or NOWHERE: it is followed back. Slots
    are the groups, then the blocks of a group but the first.
    """
    r = count if count <= FEW else math.ceil(math.sqrt(count))
    groups, steps, source = (count - 1) // r, 0, 0
    for i in range(groups * r):
        target = (i + 1) // r if (i + 1) % r == 0 else groups + 1 + i % 2
        steps = _put(plan, steps, (i, 0, source, target))
        source = target
    for g in range(groups, -1, -1):
        first, end, source = g * r, min(g * r + r, count), g
        for i in range(first, end - 1):
            target = groups + 1 + i - first
            steps = _put(plan, steps, (i, i - first, source, target))
            source = target
        for i in range(end - 1, first - 1, -1):
            source = groups + i - first if i > first else g
            steps = _put(plan, steps, (i, i - first, source, NOWHERE))
    return steps


@device
def _put(plan: Any, steps: int, row: Any) -> int:
    for i in range(4):
        plan[steps, i] = row[i]
    return steps + 1


@device
def is_ready(plan: Any, step: int) -> bool:
    """Whether the block of a step was prepared before, and is still there in its group's place."""
    again = plan[step, 3] == NOWHERE and step > 0 and plan[step - 1, 3] == NOWHERE
    return again and plan[step - 1, 0] == plan[step, 0] + 1 and plan[step - 1, 1] > 0
