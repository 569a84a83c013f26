"""Large numbers and small ones."""

from mcore.arrays import Array
from mcore.testing.theorems.about import readout, rule
from mcore.testing.theorems.calm import is_calm
from mcore.testing.theorems.case import Axes, Case, regular
from mcore.testing.theorems.subject import Subject, backward, forward, tolerances, want
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Fault, meet

FACTORS = (2.0**20, 2.0**-20)
EXTREMES = {"u": 4096.0, "igate": 64.0, "fgate": 32.0, "x": 32.0}
"""Times what these inputs are: logits in the thousands, exponents beyond what exp can take."""
DEEPEST = -300.0
"""A log_decay that leaves nothing; exp(300) squared is beyond float64."""


def scale(subject: Subject, case: Case) -> float:
    """c v gives c y, and so does c q where y is linear in q; extreme gates give finite answers that
    are right where ordinary ones are."""
    y, worst = forward(subject, case), 0.0
    for name in _homogeneous(case.axes):
        for factor in FACTORS:
            got = forward(subject, case.given({name: factor * case.inputs[name]}))
            what = f"y / {factor:g} for {factor:g} {name}"
            worst = max(worst, meet(got / factor, y, tolerances(subject).y, what))
    for what, changed in _extremes(case).items():
        worst = max(worst, _bear(subject, case.given(changed), what))
    return worst


def _bear(subject: Subject, case: Case, what: str) -> float:
    """Finite, and right if that can be told."""
    try:
        y = forward(subject, case)
        if "backward" not in subject.lacks:
            backward(subject, case)
    except Fault as fault:
        raise Fault(f"{what}: {fault}") from fault
    if not is_calm(subject, case.axes):
        return 0.0
    slack = 100 if subject.dtype == "float32" else 1
    return meet(y, want(case), slack * tolerances(subject).y, f"y with {what}")


def _extremes(case: Case) -> dict[str, dict[str, Array]]:
    found = {
        f"{name} times {factor:g}": {name: factor * case.inputs[name]}
        for name, factor in EXTREMES.items()
        if name in case.inputs
    }
    if "log_decay" in case.inputs:
        decay = case.inputs["log_decay"].copy()
        decay[(slice(None), slice(None, None, 2)) if decay.ndim > 1 else 0] = DEEPEST
        found["log_decay of -300 at times"] = {"log_decay": decay}
    return found


def _homogeneous(axes: Axes) -> list[str]:
    """The inputs that y is proportional to."""
    recurrence = rule(axes)
    if recurrence.family != "matrix" or readout(axes) == "sigmoid":
        return []
    shared = isinstance(axes.readout, dict) and axes.readout.get("u") == "shared"
    options = axes.recurrence if isinstance(axes.recurrence, dict) else {}
    if not recurrence.linear_read or shared or options.get("feature_map") == "elu1":
        return ["v"]
    return ["v", "q"]


SCALE = Theorem(
    "scale",
    "y grows as its values do, and extreme gates overflow nothing",
    regular,
    scale,
)
