"""Cuts at odd places, and calls that follow other calls."""

from dataclasses import replace

from mcore.arrays import Array
from mcore.testing.agreement import relative_error
from mcore.testing.samples import fitting
from mcore.testing.strategies import Sizes
from mcore.testing.theorems.calm import require_calm
from mcore.testing.theorems.case import Case, regular
from mcore.testing.theorems.subject import Subject, backward, forward, tolerances, want
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Fault, Untold, meet


def borders(subject: Subject, case: Case) -> float:
    """What is right for even cuts is right for ragged ones, and after calls with other lengths."""
    worst = _after_others(subject, _unusual(case))
    require_calm(subject, case.axes)
    for odd in _odd(case):
        what = f"y cut into {list(odd.lengths)}"
        try:
            worst = max(worst, meet(forward(subject, odd), want(odd), tolerances(subject).y, what))
        except Fault as fault:
            raise Fault(f"cut into {list(odd.lengths)}: {fault}") from fault
    return worst


def _odd(case: Case) -> list[Case]:
    """The same tokens: the last segment short, the first, the middle one; all of one token; one."""
    T, S = case.sizes.T, len(case.lengths)
    cuts = [[1, *case.lengths[:-1], case.lengths[-1] - 1], [1] * T, [T], [T - 1, 1], [1, T - 1]]
    if S > 1:
        cuts.append([*case.lengths[:-2], case.lengths[-2] + case.lengths[-1] - 1, 1])
    short = case.first(T - 1)
    return [short, case.first(1), *(case.cut(lengths) for lengths in cuts)]


def _unusual(case: Case) -> Case:
    """Sizes that no other theorem uses, so that nothing kept from earlier calls fits."""
    length, width = 9 + case.seed % 5, 5 + case.seed % 3
    B, _, H, _, _ = case.sizes
    sizes = fitting(case.composition, (B, 3 * length, H, width, width + 1))
    return Case(case.axes, (length,) * 3, Sizes(*sizes), case.seed)


def _after_others(subject: Subject, first: Case) -> float:
    """Other arrays, then other lengths, then what was asked first; all of the same shapes."""
    allowed = tolerances(subject)
    try:
        y, gradients = forward(subject, first).copy(), _gradients(subject, first)
    except Fault as fault:
        raise Untold(f"ordinary calls fail: {fault}") from None
    right = relative_error(y, want(first)) <= allowed.y
    others = {
        "arrays": replace(first, seed=first.seed + 7),
        "lengths": first.cut([first.sizes.T - 6, 4, 2]),
    }
    for what, other in others.items():
        after = forward(subject, other)
        if right:
            meet(after, want(other), allowed.y, f"y after a call with other {what}")
        _gradients(subject, other)
    between = "after calls with others in between"
    worst = meet(forward(subject, first), y, allowed.y, f"y {between}")
    for name, array in _gradients(subject, first).items():
        what = f"gradient of {name} {between}"
        worst = max(worst, meet(array, gradients[name], allowed.gradient, what))
    return worst


def _gradients(subject: Subject, case: Case) -> dict[str, Array]:
    if "backward" in subject.lacks:
        return {}
    return {name: array.copy() for name, array in backward(subject, case).items()}


BORDERS = Theorem(
    "borders",
    "what is right for even cuts is right for ragged ones, and after calls with other lengths",
    regular,
    borders,
)
