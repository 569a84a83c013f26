"""What scans of deep memories are given and give, whichever kernels run them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.recurrence import Inputs
from mcore.recurrence.mlp_memory import MlpMemory
from mcore.segments import Segments


class Mixture(NamedTuple):
    """What a soup brings to the online memory: gates (B, T, H); extra (B, T, H, E) or None."""

    gates: Array
    extra: Array | None


class Online(NamedTuple):
    """What `online` returns: reads, checkpoints, and the hidden vectors (B, T, H, E), if mixed."""

    scan: Scan
    hidden: Array | None


class OnlineSaved(NamedTuple):
    """What `online` keeps.

    Attributes:
        rule, inputs, carry, segments: of the call; the arrays of `inputs` contiguous.
        mixture: of a soup, or None.
        checkpoints: (B, S, H, P).
    """

    rule: MlpMemory
    inputs: Inputs
    carry: Array | None
    segments: Segments
    mixture: Mixture | None
    checkpoints: Array


class OnlineGradients(NamedTuple):
    """Gradients with respect to inputs, carry and, if mixed, the mixture."""

    inputs: dict[str, Array]
    carry: Array | None
    mixture: Mixture | None


class Launch(NamedTuple):
    """How a kernel is started for a call.

    Attributes:
        family: its source and its name.
        sizes: constants that it is compiled with.
        options: arguments of this kernel alone, integers.
        shared: bytes of shared memory.
        steps: backward: the most steps of a segment, between which states are kept.
        more: backward: states' worth of scratch besides those.
    """

    family: str
    sizes: tuple[tuple[str, int], ...]
    options: tuple[int, ...]
    shared: int
    steps: int = 0
    more: int = 1


class Form(NamedTuple):
    """A pair of kernels: how each is started."""

    forward: Callable[[OnlineSaved], Launch]
    backward: Callable[[OnlineSaved], Launch]


def real(x: Array) -> str:
    """The dtype of states and sums for arrays over tokens of x's dtype."""
    return "float64" if x.dtype.name == "float64" else "float32"


def longest(segments: Segments) -> int:
    """Tokens of the longest segment."""
    return int(np.diff(segments.bounds, axis=1).max())
