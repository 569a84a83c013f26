"""Checkpoints that are equally good."""

import numpy as np
from hypothesis import strategies as st

from mcore.arrays import Array
from mcore.testing.theorems.about import is_random, options, readout
from mcore.testing.theorems.calm import require_calm
from mcore.testing.theorems.case import Axes, Case, Cuts
from mcore.testing.theorems.subject import Subject, forward, tolerances, want
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Untold, meet


def ties(subject: Subject, case: Case) -> float:
    """Where all segments have the same keys, the oldest checkpoints are read."""
    if len(case.lengths) <= options(case.axes.readout).get("top_k", 2) + 1:
        raise Untold("few segments: all are read")
    require_calm(subject, case.axes)
    case = _with_ties(case)
    what = "y where all checkpoints are equally good, so that the oldest are read"
    return meet(forward(subject, case), want(case), tolerances(subject).y, what)


def _with_ties(case: Case) -> Case:
    """Keys that every segment repeats. They and u are small multiples of 1/4, so that means and
    logits are exact, in whatever order they are summed."""
    rng = np.random.default_rng(case.seed)
    k, u = (_quarters(rng, case.inputs[name].shape) for name in "ku")
    pair = k[:, : case.lengths[0]]
    return case.given({"k": np.tile(pair, (1, len(case.lengths), 1, 1)), "u": u})


def _quarters(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.integers(1, 4, shape) / 4.0


def _chooses(axes: Axes) -> str | None:
    if readout(axes) != "ssc" or is_random(axes):
        return "about ssc that chooses by content"
    shared = options(axes.readout).get("u") == "shared"
    return "about a query of its own for memories" if shared else None


PAIRS = Cuts(st.integers(4, 8).map(lambda count: (2,) * count), (2,) * 6)

TIES = Theorem(
    "ties",
    "of checkpoints that are equally good, ssc reads the older ones",
    PAIRS,
    ties,
    _chooses,
)
