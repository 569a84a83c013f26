"""Residual readout of sums: linear attention."""

import numpy as np

from mcore.arrays import Array
from mcore.testing.theorems.about import is_sum, readout
from mcore.testing.theorems.case import Axes, Case, Cuts, ragged, regular
from mcore.testing.theorems.formulas import feature, owner_of
from mcore.testing.theorems.subject import Subject, forward, tolerances
from mcore.testing.theorems.theorem import Applies, Theorem
from mcore.testing.theorems.violation import meet


def residual_linear(subject: Subject, case: Case) -> float:
    """y_t = sum_{j <= t} (q_t . k_j) v_j, wherever the cuts are (section 3.1)."""
    wanted = _attention(case, np.tri(case.sizes.T))
    return meet(forward(subject, case), wanted, tolerances(subject).y, "y beside linear attention")


def residual_checkpoint(subject: Subject, case: Case) -> float:
    """A token of segment j counts s - j + 1 times in segment s: it is in that many memories."""
    owner = owner_of(case)
    weight = (owner[:, None] - owner + 1) * np.tri(case.sizes.T)
    what = "y beside linear attention with weights s - j + 1"
    return meet(forward(subject, case), _attention(case, weight), tolerances(subject).y, what)


def _attention(case: Case, weight: Array) -> Array:
    """sum_j weight[t, j] (phi(q_t) . phi(k_j)) v_j."""
    q, k = (feature(case, case.inputs[name]) for name in "qk")
    answer: Array = np.einsum("tj,bthk,bjhk,bjhv->bthv", weight, q, k, case.inputs["v"])
    return answer


def _residual(start: str) -> Applies:
    def applies(axes: Axes) -> str | None:
        if readout(axes) != "residual" or not is_sum(axes):
            return "about readout residual of a linear memory that is not normalised"
        return None if axes.start == start else f"about start {start}"

    return applies


CUTS: Cuts = regular | ragged

RESIDUAL_LINEAR = Theorem(
    "residual_linear",
    "residual readout of independent sums is linear attention, wherever the cuts are",
    CUTS,
    residual_linear,
    _residual("independent"),
)
RESIDUAL_CHECKPOINT = Theorem(
    "residual_checkpoint",
    "residual readout of sums that go on counts a token of segment j s - j + 1 times in segment s",
    CUTS,
    residual_checkpoint,
    _residual("checkpoint"),
)
