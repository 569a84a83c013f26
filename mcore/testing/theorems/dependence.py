"""What an answer must depend on."""

import numpy as np

from mcore.arrays import Array
from mcore.testing.samples import axis, sample_normal
from mcore.testing.theorems.about import GATED, options, readout, rule
from mcore.testing.theorems.case import Axes, Case, regular
from mcore.testing.theorems.subject import Subject, forward, tolerances, want
from mcore.testing.theorems.theorem import Theorem
from mcore.testing.theorems.violation import Violation, meet

LEAST = 0.01
"""Of the change that the reference makes."""


def query_dependence(subject: Subject, case: Case) -> float:
    """Another q, or u, at one token changes the answer at that token and at no other."""
    y, exact, worst = forward(subject, case), want(case), 0.0
    t = case.sizes.T - 1 - case.seed % case.lengths[-1]
    for name in _queries(case.axes):
        other = case.given({name: _with_other(case, name, t)})
        moved, due = forward(subject, other), want(other)
        rest = np.arange(case.sizes.T) != t
        what = f"y at other tokens when {name} of token {t} is another"
        worst = max(worst, meet(moved[:, rest], y[:, rest], tolerances(subject).y, what))
        change, expected = _change(moved, y, t), _change(due, exact, t)
        if expected > 1e-3 and change < LEAST * expected:
            raise Violation(
                f"y at token {t} moves by {change:.1e} of its size when {name} there is another; "
                f"{expected:.1e} was expected",
                expected,
            )
    return worst


def _change(after: Array, before: Array, t: int) -> float:
    """Of the answer to one token, relative to its largest entry."""
    size = float(np.abs(before[:, t]).max())
    return float(np.abs(after[:, t] - before[:, t]).max()) / max(size, 1e-300)


def _with_other(case: Case, name: str, t: int) -> Array:
    array = case.inputs[name].copy()
    array[:, t] = np.abs(sample_normal(array[:, t].shape, case.seed + 3)) + 0.2
    return array


def _queries(axes: Axes) -> list[str]:
    queries = ["q"] if "q" in rule(axes).inputs else []
    routed = readout(axes) in GATED and options(axes.readout).get("u") != "shared"
    return [*queries, "u"] if routed else queries


def _has_query(axes: Axes) -> str | None:
    return None if _queries(axes) else "about memories that are asked by a query"


def inner_loss(subject: Subject, case: Case) -> float:
    """One pair written again and again: the memory's answer to its key comes nearer to its value
    (for `dla`, its product with the value grows), as much as in the reference, or half of that."""
    case = _repeated(case)
    losses, due = (_losses(case, y) for y in (forward(subject, case), want(case)))
    rises = np.diff(losses, axis=1).max()
    size = np.abs(due).max()
    if rises > tolerances(subject).y * size:
        raise Violation(f"the inner loss rises by {rises:.2e} from a token to the next", rises)
    last, first, expected = losses[:, -1], due[:, 0], due[:, -1]
    short = last - (first + expected) / 2
    if (short > tolerances(subject).y * size).any():
        worst = int(np.argmax(short))
        raise Violation(
            f"the inner loss is {last.flat[worst]:.3g} after {case.sizes.T} tokens; it should fall "
            f"from {first.flat[worst]:.3g} to {expected.flat[worst]:.3g}"
        )
    return 0.0


def _losses(case: Case, y: Array) -> Array:
    """(B, T, H) of the answers to the key."""
    v = case.inputs["v"]
    if axis(case.composition, "recurrence")["kind"] == "dla":
        return np.asarray(-(y * v).sum(axis=-1), np.float64)
    return np.asarray(np.linalg.norm(y - v, axis=-1), np.float64)


def _repeated(case: Case) -> Case:
    """One segment whose tokens are all the first one; q = k, small steps, no decay. Gradients that
    a chunk takes at its start add up, so that its steps are smaller yet."""
    x = case.inputs
    repeated = {
        name: np.broadcast_to(array[:, :1], array.shape) if case.has_tokens(name) else array
        for name, array in x.items()
    }
    if "kk" in x:
        repeated["k"] = 0.5 * repeated["kk"]
    repeated["q"] = repeated.get("kk", repeated["k"])
    for name, value in _GENTLE.items():
        if name in x:
            repeated[name] = np.full_like(x[name], value)
    if "step" in x:
        repeated["step"] /= options(case.axes.recurrence).get("chunk", 1)
    return case.cut([case.sizes.T]).given(repeated)


_GENTLE = {"log_decay": 0.0, "beta": 0.5, "a": 0.5, "step": 0.02, "momentum": 0.2}


def _learns(axes: Axes) -> str | None:
    kind = options(axes.recurrence)["kind"]
    if kind == "dla" or rule(axes).learns_from_error:
        return None
    return "about rules that learn from an inner loss"


QUERY_DEPENDENCE = Theorem(
    "query_dependence",
    "another query at a token changes its answer, and no other",
    regular,
    query_dependence,
    _has_query,
)
INNER_LOSS = Theorem(
    "inner_loss",
    "a pair that is written again is remembered better",
    regular,
    inner_loss,
    _learns,
)
