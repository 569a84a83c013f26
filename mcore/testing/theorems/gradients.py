"""Backward is the derivative of forward."""

from dataclasses import replace
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.testing.gradcheck import check_inputs
from mcore.testing.samples import axis
from mcore.testing.theorems.case import Case, ragged, regular
from mcore.testing.theorems.subject import REFERENCE, Subject, backward, forward, tolerances
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Violation, meet

STEPS = {"float64": 1e-6, "float32": 3e-3}


def gradients(subject: Subject, case: Case) -> float:
    """Each gradient is that of the reference, and what central differences of y say."""
    allowed, wanted = tolerances(subject), backward(REFERENCE, case)
    got = backward(subject, case)
    errors = [
        meet(got[name], wanted[name], allowed.gradient, f"gradient of {name}") for name in wanted
    ]
    if not axis(case.composition, "readout").get("detach"):
        _difference(subject, case)
    return max(errors)


def _difference(subject: Subject, case: Case) -> None:
    """Central differences of the subject's own forward, along random directions."""

    def run(inputs: Any) -> tuple[Array, Case]:
        asked = case.given(inputs)
        return np.asarray(forward(subject, asked), np.float64), asked

    def run_backward(asked: Case, dy: Array) -> dict[str, Array]:
        found = backward(subject, replace(asked, d_y=dy))
        return {name: np.asarray(gradient, np.float64) for name, gradient in found.items()}

    try:
        check_inputs(
            run, run_backward, case.inputs, tolerances(subject).difference, STEPS[subject.dtype]
        )
    except Violation:
        raise
    except AssertionError as error:
        raise Violation(str(error)) from None


GRADIENTS = Theorem(
    "gradients",
    "every gradient is the derivative of y, by finite differences and as in the reference",
    regular | ragged,
    gradients,
    needs=("backward",),
)
