"""Fast cached reads against the reference."""

from typing import Any

import numpy as np
import pytest
from numba_cases import (
    CASES,
    DTYPES,
    FAST,
    REFERENCE,
    Case,
    assert_same,
    conditioned,
    cuts,
    double,
    normal,
)

from mcore.axes import make_recurrence
from mcore.backend import get_backend
from mcore.errors import BackendError
from mcore.recurrence import Dims

MEMORIES = {
    "linear": "linear",
    "normalised": {"kind": "linear", "normalize": True},
    "vector": "lstm",
}
CACHED = {name: case for name, case in CASES.items() if cuts(case).columns}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gating", ["none", "dense", "sparse"])
@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES.keys())
@pytest.mark.parametrize("case", CACHED.values(), ids=CACHED.keys())
def test_read_is_the_reference(case: Case, memory: Any, gating: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    rule, segments = make_recurrence(memory), cuts(case)
    case = conditioned(case, rule)
    keys = 0 if rule.family == "vector" else case.keys
    dims = Dims(case.rows, case.tokens, case.heads, keys, case.values)
    q = normal(rng, dtype, *dims[:4])
    size = int(np.prod(rule.state_shape(dims)))
    states = normal(rng, dtype, case.rows, segments.columns, case.heads, size)
    if not rule.linear_read:
        q, states = np.abs(q), np.abs(states) + q.dtype.type(0.1)
    gates = rng.standard_normal((*q.shape[:3], segments.columns)).astype(dtype)
    if gating == "sparse":
        gates[rng.random(gates.shape) < 0.8] = 0
    weights = None if gating == "none" else gates
    y, saved = FAST.read(rule, q, states, weights, segments)
    want, kept = REFERENCE.read(rule, double(q), double(states), double(weights), segments)
    assert_same(y, want, dtype, "y")
    dy = normal(rng, dtype, *y.shape)
    dq, d_states, d_gates = FAST.read_backward(saved, dy)
    want_dq, want_states, want_gates = REFERENCE.read_backward(kept, double(dy))
    assert_same(dq, want_dq, dtype, "q")
    assert_same(d_states, want_states, dtype, "checkpoints")
    if weights is None:
        assert d_gates is None
    else:
        assert d_gates is not None and want_gates is not None
        # A gate of exactly 0 means "not read", and has no gradient.
        assert_same(d_gates, np.where(gates == 0, 0, want_gates), dtype, "gates")


def test_invisible_checkpoints_are_not_touched() -> None:
    case = CASES["ragged rows"]
    rng, segments, rule = np.random.default_rng(0), cuts(case), make_recurrence("linear")
    shape = (case.rows, case.tokens, case.heads)
    q, gates = rng.standard_normal((*shape, case.keys)), rng.random((*shape, segments.columns))
    size = case.keys * case.values
    states = rng.standard_normal((case.rows, segments.columns, case.heads, size))
    states[1] = np.nan  # the second row is one segment: it reads nothing
    gates[~np.broadcast_to(segments.visible[:, :, None], gates.shape)] = np.nan
    y, saved = FAST.read(rule, q, states, gates, segments)
    dq, d_states, d_gates = FAST.read_backward(saved, np.ones_like(y))
    assert d_gates is not None
    found = [y, dq, d_states, d_gates]
    assert all(np.isfinite(x).all() for x in found)
    assert not any(x[1].any() for x in found)


def test_too_many_threads_are_refused() -> None:
    with pytest.raises(BackendError, match="threads asked for"):
        get_backend("numba", 10_000)
