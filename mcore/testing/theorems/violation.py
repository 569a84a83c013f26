"""What a theorem raises when it does not hold, and how numbers are compared."""

import numpy as np

from mcore.arrays import Array
from mcore.testing.agreement import relative_error


class Violation(AssertionError):
    """A theorem does not hold for a case.

    Attributes:
        error: the relative error that gave it away; infinite where there is no number for it.
    """

    def __init__(self, what: str, error: float = np.inf) -> None:
        super().__init__(what)
        self.error = error


class Fault(Violation):
    """There is no answer to compare: an exception, a wrong shape, NaN, or no end in time."""


class Mistyped(Violation):
    """An array of another dtype was returned: wrong, but it explains nothing else."""


class Endless(Fault):
    """A call did not end in time."""


class Untold(Exception):
    """A case says nothing about a theorem: why."""


def meet(got: Array, want: Array, tolerance: float, what: str) -> float:
    """The relative error of `got`; a Violation that says where the largest is if it exceeds."""
    error = relative_error(got, want)
    if error <= tolerance:
        return error
    difference = np.abs(np.asarray(got, np.float64) - np.asarray(want, np.float64))
    place = np.unravel_index(np.argmax(difference), difference.shape)
    at = ", ".join(str(int(i)) for i in place)
    raise Violation(
        f"{what}: {float(got[place]):.6g} at [{at}], where {float(want[place]):.6g} was expected "
        f"(relative error {error:.1e}, allowed {tolerance:.0e})",
        error,
    )
