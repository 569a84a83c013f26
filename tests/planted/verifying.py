"""Planted bugs before the theorems: `mcore.testing` sees a kernel as it sees anybody's."""

from collections.abc import Sequence

import numpy as np

from mcore.testing.theorems.kernel import Kernel as Subject
from mcore.testing.theorems.outcome import Report
from mcore.testing.theorems.search import Effort
from mcore.testing.verify import verify
from planted.bug import Bug
from planted.kernel import Kernel


def check(kernel: Kernel, backward: bool, effort: Effort, only: Sequence[str] = ()) -> Report:
    """A report on a kernel, of all theorems or of those named."""
    subject = Subject(
        kernel.forward,
        kernel.backward if backward else None,
        recurrence=kernel.recurrence,
        readout=kernel.readout,
        start=kernel.start,
    )
    with np.errstate(all="ignore"):
        return verify(subject, effort, only)


def check_bug(bug: Bug, effort: Effort, only: Sequence[str] = ()) -> Report:
    """A report on a kernel with a mistake; backward is looked at if the mistake is there."""
    return check(bug.kernel, bug.in_backward, effort, only)
