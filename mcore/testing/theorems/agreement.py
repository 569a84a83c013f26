"""The answer is that of the reference."""

from mcore.testing.theorems.case import Case, long, ragged, regular
from mcore.testing.theorems.subject import Subject, forward, tolerances, want
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import meet


def agreement(subject: Subject, case: Case) -> float:
    """y equals that of the token-by-token reference in float64."""
    return meet(forward(subject, case), want(case), tolerances(subject).y, "y")


AGREEMENT = Theorem(
    "agreement",
    "the answer is that of the token-by-token reference",
    regular | ragged | long,
    agreement,
)
