"""How gates combine memories: what they add up to, and which readouts agree."""

from dataclasses import replace

import numpy as np

from mcore.arrays import Array
from mcore.testing.agreement import relative_error
from mcore.testing.choices import Axis
from mcore.testing.samples import axis
from mcore.testing.theorems.about import options, readout, rule
from mcore.testing.theorems.case import Axes, Case, ragged, regular
from mcore.testing.theorems.formulas import grm, is_plain
from mcore.testing.theorems.single import short_enough
from mcore.testing.theorems.subject import REFERENCE, Subject, forward, tolerances, want
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Violation, meet


def soup_grm(subject: Subject, case: Case) -> float:
    """Mixing memories and then reading gives what mixing answers gives, where the read is linear in
    the memory; elsewhere the two differ (section 3.3)."""
    y, tolerance = forward(subject, case), tolerances(subject).y
    if rule(case.axes).linear_read:
        return meet(y, _grm(case), tolerance, "y of soup beside grm")
    own, other = want(case), forward(REFERENCE, _with(case, _other(case.axes)))
    apart = relative_error(own, other)
    near = relative_error(y, other)
    if apart > 100 * tolerance and near < 0.1 * apart:
        told = f"y is that of {_other(case.axes)['kind']}, which differs where a read is not linear"
        raise Violation(told, apart)
    return 0.0


def ssc_grm(subject: Subject, case: Case) -> float:
    """With no more checkpoints than `top_k`, all are selected (section 3.4)."""
    case = short_enough(case, spare=0)
    what = f"y of ssc with {len(case.lengths) - 1} checkpoints beside grm"
    return meet(forward(subject, case), _grm(case), tolerances(subject).y, what)


def _grm(case: Case) -> Array:
    case = _with(case, _swapped(case.axes, "grm"))
    return grm(case) if is_plain(case) else forward(REFERENCE, case)


def _with(case: Case, other: Axis) -> Case:
    return replace(case, axes=case.axes._replace(readout=other), arrays=case.inputs)


def _other(axes: Axes) -> dict[str, object]:
    return _swapped(axes, "grm" if readout(axes) == "soup" else "soup")


def _swapped(axes: Axes, kind: str) -> dict[str, object]:
    own = ("top_k", "router", "seed")
    kept = {name: value for name, value in options(axes.readout).items() if name not in own}
    return {**kept, "kind": kind}


def gates_sum_to_one(subject: Subject, case: Case) -> float:
    """If all memories answer alike, so does any mean of them by gates, and y is the same for all
    tokens; twice that where the online memory stands outside the softmax."""
    if rule(case.axes).family == "vector":
        case = case.cut([1] * case.sizes.T)
    y = forward(subject, case.given(_alike(case)))
    outside = axis(case.composition, "readout").get("online") == "outside"
    total = 1 + (np.arange(case.sizes.T) >= case.lengths[0]) * outside
    wanted = total[:, None, None] * y[:, :1]
    what = "y where all memories answer alike, beside its first token"
    return meet(y, wanted, tolerances(subject).y, what)


def _alike(case: Case) -> dict[str, Array]:
    """Arrays for which every memory has the same answer: one token of each segment is written (of
    all, where segments go on), its key answers q = e_1 with 1, and nothing is forgotten."""
    x = case.inputs
    if "x" in x:
        return {"x": np.broadcast_to(x["x"][:, :1], x["x"].shape)}
    elu = axis(case.composition, "recurrence").get("feature_map") == "elu1"
    nothing = -60.0 if elu else 0.0
    T = case.sizes.T
    first = np.zeros(T, bool)
    first[[0] if case.axes.start == "checkpoint" else np.cumsum((0, *case.lengths[:-1]))] = True
    q, k = np.full_like(x["q"], nothing), x["k"].copy()
    q[..., 0], k[..., 0] = 1.0, 1.0
    alike = {"q": q, "v": np.broadcast_to(x["v"][:, :1], x["v"].shape), "k": k}
    if rule(case.axes).family != "deep":
        k[:, ~first] = nothing
    for name, value in _STILL.items():
        if name in x:
            alike[name] = np.full_like(x[name], value)
    if "kk" in x:
        alike["a"] = np.zeros_like(x["a"])
    return alike


_STILL = {"log_decay": 0.0, "beta": 0.5, "beta_prev": 0.0, "step": 0.0, "igate": 0.0, "fgate": 60.0}
"""Nothing is forgotten, and deep memories do not learn."""


def _softmax(axes: Axes) -> str | None:
    if readout(axes) not in ("grm", "soup", "ssc", "moving_average"):
        return "about gates that are a mean"
    if rule(axes).family == "vector" and axes.start == "checkpoint":
        return "about memories that can answer alike; vectors that go on cannot"
    return None


def _is_soup(axes: Axes) -> str | None:
    linear = rule(axes).linear_read
    if readout(axes) == "soup" or (readout(axes) == "grm" and not linear):
        return None
    return "about soup, and about grm where the read is not linear in the memory"


def _is_ssc(axes: Axes) -> str | None:
    return None if readout(axes) == "ssc" else "about ssc"


GATES_SUM_TO_ONE = Theorem(
    "gates_sum_to_one",
    "where all memories answer alike, the readout answers the same",
    regular,
    gates_sum_to_one,
    _softmax,
)
SOUP_GRM = Theorem(
    "soup_grm",
    "soup equals grm if and only if a memory's answer is linear in the memory",
    regular,
    soup_grm,
    _is_soup,
)
SSC_GRM = Theorem(
    "ssc_grm",
    "ssc that may read all checkpoints equals grm",
    regular | ragged,
    ssc_grm,
    _is_ssc,
)
