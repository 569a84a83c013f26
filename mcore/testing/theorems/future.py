"""What a token may see: nothing that comes later."""

from dataclasses import replace

from mcore.arrays import Array
from mcore.testing.theorems.case import Case, regular
from mcore.testing.theorems.subject import Subject, forward, tolerances
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import meet


def causality(subject: Subject, case: Case) -> float:
    """Whatever follows a token, its answer stays; tried at a token that the seed chooses."""
    T = case.sizes.T
    token = 1 + case.seed % (T - 1) if T > 1 else T
    before, after = forward(subject, case), forward(subject, case.given(_changed(case, token)))
    return meet(
        after[:, :token],
        before[:, :token],
        tolerances(subject).y,
        f"y before token {token}, when the tokens from there on are others",
    )


def _changed(case: Case, token: int) -> dict[str, Array]:
    """Other tokens from `token` on, of the sizes that they have: wild gates diverge."""
    other = replace(case, arrays=None, seed=case.seed + 2).inputs
    changed = {}
    for name in filter(case.has_tokens, case.inputs):
        array = case.inputs[name].copy()
        array[:, token:] = other[name][:, token:]
        changed[name] = array
    return changed


CAUSALITY = Theorem(
    "causality",
    "no answer changes when later tokens do",
    regular,
    causality,
)
