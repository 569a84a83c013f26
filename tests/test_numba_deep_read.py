"""Fast cached reads of perceptrons against the reference."""

from typing import Any

import numpy as np
import pytest
from numba_cases import (
    CASES,
    DTYPES,
    FAST,
    REFERENCE,
    SERIAL,
    WIDE,
    Case,
    assert_same,
    cuts,
    double,
    normal,
)

from mcore.axes import make_recurrence
from mcore.recurrence import RULES, Dims

DEEP: dict[str, Any] = {kind: kind for kind, rule in RULES.items() if rule.family == "deep"}
DEEP["chunks"] = {"kind": "titans", "chunk": 3}
CACHED = {name: case for name, case in CASES.items() if cuts(case).columns}


def problem(memory: Any, case: Case, dtype: str, gating: str) -> tuple[Any, ...]:
    """Arguments of `read`."""
    rng = np.random.default_rng(0)
    rule, segments = make_recurrence(memory), cuts(case)
    dims = Dims(case.rows, case.tokens, case.heads, case.keys, case.keys, 3 * case.keys + 1)
    q, size = normal(rng, dtype, *dims[:4]), int(np.prod(rule.state_shape(dims)))
    states = normal(rng, dtype, case.rows, segments.columns, case.heads, size)
    gates = normal(rng, dtype, *dims[:3], segments.columns)
    if gating == "sparse":
        gates[rng.random(gates.shape) < 0.8] = 0
    return rule, q, states, None if gating == "none" else gates, segments


def run(backend: Any, problem: tuple[Any, ...]) -> list[Any]:
    """y, dq, d_checkpoints, d_gates; of a gate of exactly 0, "not read", there is no gradient."""
    rule, *arrays, segments = problem
    y, saved = backend.read(rule, *arrays, segments)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    dq, d_states, d_gates = backend.read_backward(saved, dy)
    return [y, dq, d_states, *([] if d_gates is None else [np.where(arrays[2] == 0, 0, d_gates)])]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gating", ["none", "dense", "sparse"])
@pytest.mark.parametrize("memory", DEEP.values(), ids=DEEP.keys())
@pytest.mark.parametrize("case", CACHED.values(), ids=CACHED.keys())
def test_read_is_the_reference(case: Case, memory: Any, gating: str, dtype: str) -> None:
    given = problem(memory, case, dtype, gating)
    got = run(FAST, given)
    want = run(REFERENCE, (given[0], *(double(x) for x in given[1:4]), given[4]))
    for name, *pair in zip(("y", "q", "checkpoints", "gates"), got, want, strict=False):
        assert_same(pair[0], pair[1], dtype, name)
    assert len(got) == len(want) == (3 if gating == "none" else 4)


@pytest.mark.parametrize("gating", ["none", "sparse"])
def test_bits_do_not_depend_on_threads(gating: str) -> None:
    given = problem("titans", WIDE, "float32", gating)
    for one, more in zip(run(SERIAL, given), run(FAST, given), strict=True):
        np.testing.assert_array_equal(one, more)


def test_invisible_checkpoints_are_not_touched() -> None:
    given = problem("moneta", CASES["ragged rows"], "float64", "dense")
    _, _, states, gates, segments = given
    states[1] = np.nan  # the second row is one segment: it reads nothing
    gates[~np.broadcast_to(segments.visible[:, :, None], gates.shape)] = np.nan
    for found in run(FAST, given):
        assert np.isfinite(found).all()
        assert not found[1].any()


def test_what_a_read_does_not_look_at_has_no_gradient() -> None:
    given = problem("titans", CASES["continued"], "float64", "dense")
    d_states = run(FAST, given)[2]
    perceptron = d_states.shape[-1] // 2
    assert d_states[..., :perceptron].any()
    assert not d_states[..., perceptron:].any()
