"""Fast kernels of perceptrons that descend: soups, chunks that go on, and what backward holds."""

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
    conditioned,
    cuts,
    double,
    rule_inputs,
)

from mcore.axes import make_recurrence

RULES = ({"kind": "dla", "chunk": 3}, "titans", {"kind": "titans", "chunk": 16}, "yaad")
CUTS = ("continued", "ragged rows", "one long segment", "one token")


def run(backend: Any, rule: Any, inputs: Any, others: tuple[Any, ...], dy: Any) -> dict[str, Any]:
    """Everything a soup and its backward return, by name."""
    y, saved = backend.soup(rule, inputs, *others)
    d_inputs, d_carry, d_checkpoints, d_gates = backend.soup_backward(saved, dy)
    found = {"y": y, "d_checkpoints": d_checkpoints, "d_gates": d_gates}
    found |= {f"d_{name}": x for name, x in d_inputs.items()}
    return found | ({} if d_carry is None else {"d_carry": d_carry})


def problem(kind: Any, case: Case, dtype: str) -> tuple[Any, ...]:
    """Arguments of `run` after the backend: memories of the size of a start, gates in (0, 1)."""
    rng, rule, segments = np.random.default_rng(0), make_recurrence(kind), cuts(case)
    case = conditioned(case, rule)
    inputs = rule_inputs(rule, case, dtype, rng)
    dims = rule.dims(inputs)
    state = (dims.H, int(np.prod(rule.state_shape(dims))))
    carry = (0.3 * rng.standard_normal((dims.B, *state))).astype(dtype) if case.cached else None
    checkpoints = 0.3 * rng.standard_normal((dims.B, segments.columns, *state))
    gates = rng.random((dims.B, dims.T, dims.H, segments.columns + 1))
    gates[..., :-1] *= segments.visible[:, :, None]
    cached = checkpoints.astype(dtype), gates.astype(dtype)
    dy = rng.standard_normal((dims.B, dims.T, dims.H, dims.V)).astype(dtype)
    return rule, inputs, (carry, segments, cached), dy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CUTS)
@pytest.mark.parametrize("kind", RULES, ids=str)
def test_soup_is_the_reference(kind: Any, case: str, dtype: str) -> None:
    rule, inputs, (carry, segments, cached), dy = problem(kind, CASES[case], dtype)
    got = run(FAST, rule, inputs, (carry, segments, cached), dy)
    others = (double(carry), segments, double(cached))
    want = run(REFERENCE, rule, double(inputs), others, double(dy))
    assert got.keys() == want.keys()
    for name in want:
        assert_same(got[name], want[name], dtype, name)


def test_bits_of_a_soup_do_not_depend_on_threads() -> None:
    arguments = problem(RULES[2], WIDE, "float32")
    one, more = run(SERIAL, *arguments), run(FAST, *arguments)
    for name in one:
        np.testing.assert_array_equal(one[name], more[name])


@pytest.mark.parametrize("tokens", [100, 400])
def test_backward_holds_about_the_square_root_of_the_states(tokens: int) -> None:
    """Of a segment of one-token chunks: not one state for each."""
    from mcore.backends.numba_cpu.deep_backward_kernels import backward_work
    from mcore.backends.numba_cpu.deep_plan import FEW

    case = Case(1, tokens, 1, 4, 4, "none")
    rule, inputs, (carry, segments, _), _ = problem("titans", case, "float64")
    _, saved = FAST.scan(rule, inputs, carry, segments)
    work = backward_work(saved.online.x)
    assert len(work.states) <= 2 * max(FEW, 1.5 * tokens**0.5) + 4
