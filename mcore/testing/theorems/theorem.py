"""What a theorem is: a name, a sentence, where it applies, and a check."""

from collections.abc import Callable
from dataclasses import dataclass

from mcore.testing.theorems.case import Axes, Case, Cuts
from mcore.testing.theorems.subject import Subject

Check = Callable[[Subject, Case], float]
"""The worst relative error seen; raises Violation."""

Applies = Callable[[Axes], str | None]
"""None, or why a theorem says nothing about a composition."""


def always(axes: Axes) -> str | None:
    """A theorem about every composition."""
    return None


@dataclass(frozen=True)
class Theorem:
    """One thing that must hold.

    Attributes:
        name: short, as on the command line.
        sentence: what it says, in words.
        cuts: where the cases are cut that it is tried on.
        check: tries it on one case.
        applies: whether it is about a composition, and why not.
        needs: of a subject: `backward`, `stream` or `documents`, if any.
    """

    name: str
    sentence: str
    cuts: Cuts
    check: Check
    applies: Applies = always
    needs: tuple[str, ...] = ()

    def missing(self, subject: Subject) -> str | None:
        """Why it cannot be checked on a subject; None if it can."""
        lacking = [subject.lacks[need] for need in self.needs if need in subject.lacks]
        if lacking:
            return lacking[0]
        reasons = [self.applies(axes) for axes in subject.axes]
        return None if None in reasons else f"it is {reasons[0]}"
