"""Is a subject right on ordinary cases? What is said about extreme ones rests on that."""

from weakref import WeakKeyDictionary

from mcore.testing.agreement import relative_error
from mcore.testing.samples import fitting
from mcore.testing.strategies import Sizes
from mcore.testing.theorems.case import Axes, Case
from mcore.testing.theorems.subject import Subject, forward, tolerances, want
from mcore.testing.theorems.violation import Untold, Violation

ORDINARY = (((3, 3, 3, 3), (2, 2, 4, 4)), ((4, 4, 4), (1, 1, 3, 2)), ((2,) * 6, (1, 2, 2, 3)))
"""Lengths, and B, H, K, V."""

_known: WeakKeyDictionary[Subject, dict[str, bool]] = WeakKeyDictionary()


def is_right(subject: Subject, case: Case) -> bool:
    """Whether y of a case is that of the reference."""
    try:
        return relative_error(forward(subject, case), want(case)) <= tolerances(subject).y
    except Violation:
        return False


def is_calm(subject: Subject, axes: Axes) -> bool:
    """Whether it is right on a few cases cut evenly."""
    known = _known.setdefault(subject, {})
    key = repr(axes)
    if key not in known:
        known[key] = all(is_right(subject, case) for case in _ordinary(axes))
    return known[key]


def _ordinary(axes: Axes) -> list[Case]:
    found = []
    for seed, (lengths, (B, H, K, V)) in enumerate(ORDINARY):
        sizes = fitting({"recurrence": axes.recurrence}, (B, sum(lengths), H, K, V))
        found.append(Case(axes, lengths, Sizes(*sizes), seed))
    return found


def require_calm(subject: Subject, axes: Axes) -> None:
    """Raise Untold if ordinary cases are wrong already."""
    if not is_calm(subject, axes):
        raise Untold("ordinary cases are wrong already")
