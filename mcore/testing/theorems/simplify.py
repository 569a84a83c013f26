"""A counterexample with plainer numbers."""

import time
from collections.abc import Iterator

import numpy as np

from mcore.arrays import Array
from mcore.testing.theorems.about import readout
from mcore.testing.theorems.case import Case
from mcore.testing.theorems.subject import Subject
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Untold, Violation

Broken = tuple[Case, Violation]
FREE = ("q", "k", "v", "u", "x")
"""Inputs that may be anything; the others keep to what they are for."""


def simplify(theorem: Theorem, subject: Subject, broken: Broken, seconds: float) -> Broken:
    """The same case with ones, or short decimals, wherever it stays broken in the same way."""
    until = time.monotonic() + seconds
    for name in list(broken[0].inputs):
        for plain in _plainer(broken[0], name):
            if time.monotonic() > until:
                return broken
            found = _still_broken(theorem, subject, broken[0].given({name: plain}))
            if found is not None and type(found[1]) is type(broken[1]):
                broken = found
                break
    return broken


def _plainer(case: Case, name: str) -> Iterator[Array]:
    """Plain numbers first. What `ssc` chooses by stays: plain numbers tie."""
    array = case.inputs[name]
    if name == "kk" or (readout(case.axes) == "ssc" and name in ("u", "q", "k")):
        return
    if name in FREE:
        yield np.ones_like(array)
    yield np.round(array, 1)
    yield np.round(array, 2)


def _still_broken(theorem: Theorem, subject: Subject, case: Case) -> Broken | None:
    try:
        theorem.check(subject, case)
    except Violation as violation:
        return case, violation
    except Untold:
        return None
    return None
