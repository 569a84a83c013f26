"""Theorems about memories, each with a name and a sentence, for `mcore verify`.

    case        what is asked once: a composition, lengths, arrays
    subject     who is asked: a backend's memories
    kernel      ... or someone else's kernel, through a narrow contract
    theorem     a name, a sentence, where it applies, a check; `THEOREMS` lists all
    formulas    what is expected, in plain NumPy
    search      tries a theorem on many cases and shrinks what breaks it
    outcome     what came of it

The theorems themselves: hygiene, borders, even, precision, future, apart, dependence, mixing, sums,
single, scaling, agreement, gradients.
"""

from mcore.testing.theorems.agreement import AGREEMENT
from mcore.testing.theorems.apart import PACKED, PERMUTATION, SPLIT
from mcore.testing.theorems.borders import BORDERS
from mcore.testing.theorems.dependence import INNER_LOSS, QUERY_DEPENDENCE
from mcore.testing.theorems.even import TIES
from mcore.testing.theorems.future import CAUSALITY
from mcore.testing.theorems.gradients import GRADIENTS
from mcore.testing.theorems.hygiene import INPUTS_UNTOUCHED, NAN_POISON
from mcore.testing.theorems.mixing import GATES_SUM_TO_ONE, SOUP_GRM, SSC_GRM
from mcore.testing.theorems.precision import DTYPE
from mcore.testing.theorems.scaling import SCALE
from mcore.testing.theorems.single import HYBRID, LENGTH_ONE_ATTENTION, ONE_SEGMENT
from mcore.testing.theorems.sums import RESIDUAL_CHECKPOINT, RESIDUAL_LINEAR
from mcore.testing.theorems.theorem import Theorem

THEOREMS: dict[str, Theorem] = {
    theorem.name: theorem
    for theorem in (
        INPUTS_UNTOUCHED,
        NAN_POISON,
        BORDERS,
        TIES,
        DTYPE,
        CAUSALITY,
        SPLIT,
        PACKED,
        QUERY_DEPENDENCE,
        INNER_LOSS,
        RESIDUAL_CHECKPOINT,
        RESIDUAL_LINEAR,
        PERMUTATION,
        HYBRID,
        GATES_SUM_TO_ONE,
        ONE_SEGMENT,
        LENGTH_ONE_ATTENTION,
        SSC_GRM,
        SOUP_GRM,
        SCALE,
        AGREEMENT,
        GRADIENTS,
    )
}
"""The most telling first: the fewer bugs can break a theorem, the more it says about one. Wrong
formulas break the later ones, whatever they are; a wrong backward breaks the last one alone."""

__all__ = ["THEOREMS", "Theorem"]
