"""One theorem on one case again: what the scripts of `mcore verify` do."""

from collections.abc import Mapping, Sequence

import numpy as np

from mcore.arrays import Array
from mcore.testing.strategies import Sizes
from mcore.testing.theorems.about import rule
from mcore.testing.theorems.case import Axes, Case
from mcore.testing.theorems.subject import Subject
from mcore.testing.theorems.violation import Untold, Violation


def replay(
    theorem: str, subject: Subject, inputs: Mapping[str, Array], lengths: Sequence[int], seed: int
) -> int:
    """Check a theorem on these arrays, print what comes of it, and return an exit code.

    Args:
        theorem: its name.
        subject: a `Kernel`, or `Memories` of one composition.
        inputs: all that the composition declares, in layout (B, T, H, .).
        lengths: of the segments.
        seed: of what the theorem chooses itself.

    Returns:
        1 if it is broken, 0 if it holds.
    """
    from mcore.testing.theorems import THEOREMS

    arrays = {name: np.asarray(array, np.float64) for name, array in inputs.items()}
    case = Case(subject.axes[0], tuple(lengths), _sizes(subject.axes[0], arrays), seed, arrays)
    try:
        THEOREMS[theorem].check(subject, case)
    except Violation as violation:
        print(f"{theorem} is broken: {violation}")
        return 1
    except Untold as reason:
        print(f"{theorem} cannot be told: {reason}")
        return 1
    print(f"{theorem} holds")
    return 0


def _sizes(axes: Axes, arrays: dict[str, Array]) -> Sizes:
    """Read off the arrays; a rule without keys takes those of routing."""
    dims = rule(axes).dims(arrays)
    key = arrays["k"].shape[-1] if "k" in arrays else dims.K
    return Sizes(dims.B, dims.T, dims.H, key, dims.V)
