"""The answer is that of the reference."""

import numpy as np

from mcore.arrays import Array
from mcore.testing.theorems.about import is_random, readout
from mcore.testing.theorems.case import Case, long, ragged, regular
from mcore.testing.theorems.subject import Subject, forward, tolerances, want
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import meet


def agreement(subject: Subject, case: Case) -> float:
    """y equals that of the token-by-token reference in float64."""
    error = meet(forward(subject, case), want(case), tolerances(subject).y, "y")
    if readout(case.axes) == "ssc" and not is_random(case.axes):
        tied = case.given(_tied(case))
        what = "y where all checkpoints tie, so that the older ones are read"
        error = max(error, meet(forward(subject, tied), want(tied), tolerances(subject).y, what))
    return error


def _tied(case: Case) -> dict[str, Array]:
    """Keys of ones, and queries whose sums are exact in any order."""
    queries = [name for name in ("q", "u") if name in case.inputs]
    halves = {name: np.round(2.0 * case.inputs[name]) / 2.0 for name in queries}
    return halves | {"k": np.ones_like(case.inputs["k"])}


AGREEMENT = Theorem(
    "agreement",
    "the answer is that of the token-by-token reference",
    regular | ragged | long,
    agreement,
)
