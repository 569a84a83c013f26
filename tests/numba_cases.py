"""Cuts and random arrays on which the Numba operations are compared with the reference."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.axes import make_segmentation
from mcore.backend import get_backend
from mcore.cutting import cut
from mcore.recurrence import Recurrence
from mcore.segments import Progress, Segments, fresh
from mcore.testing.agreement import relative_error
from mcore.testing.samples import is_fraction, shape_of
from mcore.testing.strategies import Example

DTYPES = ("float64", "float32")
LIMITS = {"float64": 1e-10, "float32": 1e-5}
"""The same sums in another order, as blocks of 64 tokens: some ulp, amplified by 64 x 64 solves."""

REFERENCE = get_backend("reference")
FAST = get_backend("numba")
SERIAL = get_backend("numba", 1)


class Case(NamedTuple):
    """Sizes, cuts, and whether segments carry the memory on."""

    rows: int
    tokens: int
    heads: int
    keys: int
    values: int
    segmentation: Any
    carries: bool = False
    cached: int = 0


RAGGED = {"kind": "given", "lengths": [[20, 15, 5], [40]]}
CASES = {
    "one token": Case(1, 1, 1, 1, 1, "none"),
    "short last segment": Case(2, 7, 2, 5, 3, {"kind": "constant", "length": 3}),
    "ragged rows": Case(2, 40, 2, 8, 20, RAGGED, carries=True),
    "ragged fresh rows": Case(2, 40, 1, 1, 16, RAGGED),
    "chunks in a segment": Case(1, 150, 2, 16, 16, {"kind": "constant", "length": 70}),
    "one long segment": Case(2, 130, 1, 8, 8, "none"),
    "more rows than a block": Case(19, 5, 1, 3, 2, {"kind": "constant", "length": 2}, True),
    "continued": Case(2, 33, 2, 8, 5, {"kind": "constant", "length": 8}, True, 3),
}


DOCUMENTS = np.stack([np.repeat([0, 1, 2, 3], [40, 1, 129, 30]), np.zeros(200, np.int64)])
"""Rows of 200 tokens whose segments end at different tokens."""


WIDE = Case(4, 150, 4, 16, 16, {"kind": "constant", "length": 70})
"""Large enough to be shared among threads."""


def cuts(case: Case) -> Segments:
    """The segments of a case; a continued one comes from unequal rows with open segments."""
    progress = fresh(case.rows)
    if case.cached:
        position, count = np.array([25, 8 * case.cached]), np.array([case.cached, 1])
        progress = Progress(position, position % 8, count, case.cached)
    return cut(make_segmentation(case.segmentation), case.carries, case.tokens, progress)


def rule_inputs(rule: Recurrence, case: Case, dtype: str, rng: np.random.Generator) -> Any:
    """Prepared inputs of a rule: unit-size keys, positive ones for a normaliser, all decays."""
    dims = {"B": case.rows, "T": case.tokens, "H": case.heads}
    dims |= rule.sizes(case.keys, case.values)
    inputs = {}
    for name, axes in rule.prepared.items():
        shape = shape_of(axes, dims)
        inputs[name] = rng.standard_normal(shape) / (case.keys**0.5 if name == "k" else 1)
        if name == "recurrent":
            inputs[name] /= case.values**0.5
        if getattr(rule, "normalize", False) and name in ("q", "k"):
            inputs[name] = 0.2 + np.abs(inputs[name])
        if name == "kk":
            inputs[name] /= np.linalg.norm(inputs[name], axis=-1, keepdims=True)
        if name == "a":
            inputs[name] = rng.uniform(0, 1, shape)
        if name == "fgate":
            inputs[name] = -np.abs(inputs[name])
        if name in ("beta", "momentum", "delta"):
            inputs[name] = rng.uniform(0, 1, shape)
        if name == "step":
            inputs[name] = rng.uniform(0, 0.1, shape)
        if name in ("w_in", "w_out"):
            inputs[name] /= shape[1] ** 0.5
        if not _shared(name) and is_fraction(rule, name):
            inputs[name] = rng.uniform(0, 1, shape)
        if name == "log_decay":
            inputs[name] = np.where(rng.random(shape) < 0.2, -40, rng.uniform(-1, 0, shape))
            inputs[name][rng.random(shape) < 0.2] = 0
    inputs = {name: x.astype(dtype) for name, x in inputs.items()}
    return rule.prepare(inputs)[0] if rule.family == "vector" else inputs


def _shared(name: str) -> bool:
    """Whether several rules have an input of this name, drawn above."""
    return name in ("a", "beta", "beta_prev", "momentum", "step")


def normal(rng: np.random.Generator, dtype: str, *shape: int) -> Any:
    """Standard normal numbers."""
    return rng.standard_normal(shape).astype(dtype)


def conditioned(case: Case, rule: Recurrence) -> Case:
    """Values as wide as keys where the rule wants them so.

    At least two key channels for a normaliser: with one, y does not depend on q at all, and what
    is left of q's gradient is rounding.
    """
    if rule.square:
        case = case._replace(values=case.keys)
    return case._replace(keys=max(case.keys, 2)) if getattr(rule, "normalize", False) else case


def double(x: Any) -> Any:
    """Arrays, None, and tuples and dicts of them, in float64."""
    if isinstance(x, dict):
        return {name: double(value) for name, value in x.items()}
    if isinstance(x, tuple):
        parts = [double(value) for value in x]
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return None if x is None else x.astype(np.float64)


def assert_same(got: Array, want: Array, dtype: str, name: str) -> None:
    """Raise AssertionError unless `got` has the dtype and is as near as rounding allows."""
    assert got.dtype == dtype, name
    if want.size == 0:
        assert got.shape == want.shape, name
        return
    error = relative_error(got, want)
    assert error <= LIMITS[dtype], f"{name}: relative error {error:.1e}"


def two_calls(memory: Any, example: Example, cut: int) -> list[Array]:
    """y and all gradients of a row in two calls, the second of which goes on from the first."""
    first, second = example.pieces([cut, example.sizes.T - cut])
    y, saved = memory.forward(first, document=DOCUMENTS[:, :cut])
    later_y, then = memory.forward(second, saved.end, document=DOCUMENTS[:, cut:])
    later = memory.backward(then, example.dy[:, cut:])
    d_end = later.pop("state")
    earlier = memory.backward(saved, example.dy[:, :cut], d_end)
    ends = (d_end.online, d_end.checkpoints, d_end.contexts, d_end.keys)
    return [y, later_y, *earlier.values(), *later.values(), *(x for x in ends if x.size)]
