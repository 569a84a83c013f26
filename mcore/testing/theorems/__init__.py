"""Theorems about memories, each with a name and a sentence, for `mcore verify`.

case        what is asked once: a composition, lengths, arrays
subject     who is asked: a backend's memories
kernel      ... or someone else's kernel, through a narrow contract
theorem     a name, a sentence, where it applies, a check; `THEOREMS` lists all
search      tries a theorem on many cases and shrinks what breaks it
outcome     what came of it
"""

from mcore.testing.theorems.agreement import AGREEMENT
from mcore.testing.theorems.future import CAUSALITY
from mcore.testing.theorems.gradients import GRADIENTS
from mcore.testing.theorems.theorem import Theorem

THEOREMS: dict[str, Theorem] = {
    theorem.name: theorem for theorem in (CAUSALITY, AGREEMENT, GRADIENTS)
}
"""The most telling first: the fewer bugs can break a theorem, the more it says about one."""

__all__ = ["THEOREMS", "Theorem"]
