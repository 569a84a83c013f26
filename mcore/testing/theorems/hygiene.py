"""A call reads its inputs, returns arrays of its own, and leaves no trace."""

from collections.abc import Mapping

import numpy as np

from mcore.arrays import Array
from mcore.testing.theorems.case import Case, regular
from mcore.testing.theorems.poison import poisoned
from mcore.testing.theorems.subject import Given, Subject, backward, forward
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Fault, Violation, meet

AGAIN = {"float64": 1e-12, "float32": 1e-5}
"""How far two runs of one call may be apart: some parallel sums have no fixed order."""
POISONS = (np.nan, 3e4)


def inputs_untouched(subject: Subject, case: Case) -> float:
    """Neither forward nor backward writes to an input, to `lengths` or to `dy`."""
    given = subject.give(case)
    subject.answer(given, case)
    _check_untouched(subject, given, case, "forward")
    if "backward" not in subject.lacks:
        given = subject.give(case)
        subject.gradients(given, case)
        _check_untouched(subject, given, case, "backward")
    return 0.0


def _check_untouched(subject: Subject, given: Given, case: Case, what: str) -> None:
    fresh = subject.give(case)
    if given.lengths != fresh.lengths:
        raise Violation(f"{what} changed lengths {fresh.lengths} to {given.lengths}")
    if list(given.inputs) != list(fresh.inputs):
        raise Violation(f"{what} left inputs with {', '.join(given.inputs) or 'nothing'}")
    before = subject.held(fresh, case)
    for name, now in subject.held(given, case).items():
        if not np.array_equal(now, before[name], equal_nan=True):
            raise Violation(f"{what} wrote to {name}{_first(now, before[name])}")


def _first(now: Array, before: Array) -> str:
    """Where two arrays first differ, and how."""
    if now.shape != before.shape:
        return f", whose shape {before.shape} is now {now.shape}"
    place = tuple(np.argwhere(now != before)[0].tolist())
    return f": {before[place]:.6g} at {list(place)} is now {now[place]:.6g}"


def nan_poison(subject: Subject, case: Case) -> float:
    """The same call gives the same, whatever lay in memory before; what it returns is its own."""
    sizes = sorted({*range(1, 65), case.dy.size, *(x.size for x in case.inputs.values())})
    with poisoned(sizes, 0.0):
        plain = _everything(subject, case)
        worst = _compare(plain, _everything(subject, case), subject, "when called again")
    for value in POISONS:
        when = f"when memory that nobody wrote to holds {value:g}"
        try:
            with poisoned(sizes, value):
                got = _everything(subject, case)
        except Fault as fault:
            raise Violation(f"{when}: {fault}") from fault
        worst = max(worst, _compare(plain, got, subject, when))
    _check_own(subject, case)
    return worst


def _everything(subject: Subject, case: Case) -> dict[str, Array]:
    """Copies of y and all gradients."""
    found = {"y": forward(subject, case)}
    if "backward" not in subject.lacks:
        gradients = backward(subject, case)
        found |= {f"gradient of {name}": array for name, array in gradients.items()}
    return {name: array.copy() for name, array in found.items()}


def _compare(
    plain: Mapping[str, Array], got: Mapping[str, Array], subject: Subject, when: str
) -> float:
    tolerance = AGAIN[subject.dtype]
    return max(meet(got[name], plain[name], tolerance, f"{name} {when}") for name in plain)


def _check_own(subject: Subject, case: Case) -> None:
    """y shares no memory with an input, nor with the y of another call; nor do gradients."""
    given = subject.give(case)
    y = subject.answer(given, case)
    kept = y.copy()
    _check_apart({"y": y}, subject.held(given, case))
    moved = case.given({name: array * 0.5 for name, array in case.inputs.items()})
    forward(subject, moved)
    if not np.array_equal(y, kept):
        raise Violation("y: the next call of forward wrote to the array that this one returned")
    if "backward" in subject.lacks:
        return
    given = subject.give(case)
    gradients = subject.gradients(given, case)
    copies = {name: array.copy() for name, array in gradients.items()}
    named = {f"gradient of {name}": array for name, array in gradients.items()}
    _check_apart(named, subject.held(given, case))
    backward(subject, moved)
    for name, array in gradients.items():
        if not np.array_equal(array, copies[name]):
            raise Violation(f"gradient of {name}: the next call of backward wrote to it")


def _check_apart(returned: Mapping[str, Array], inputs: Mapping[str, Array]) -> None:
    seen = dict(inputs)
    for name, array in returned.items():
        for other, there in seen.items():
            if np.may_share_memory(array, there) and np.shares_memory(array, there):
                raise Violation(f"{name} is, or is part of, the array {other}")
        seen[name] = array


INPUTS_UNTOUCHED = Theorem(
    "inputs_untouched",
    "neither forward nor backward writes to what it is given",
    regular,
    inputs_untouched,
)
NAN_POISON = Theorem(
    "nan_poison",
    "the same call gives the same, whatever lay in memory; what it returns belongs to the caller",
    regular,
    nan_poison,
)
