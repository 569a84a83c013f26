"""The fast scan against the reference for every rule it knows, cut and dtype; what it promises."""

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
from mcore.recurrence import RULES

KINDS: dict[str, Any] = {kind: kind for kind in RULES if (kind, "scan") in FAST.accelerates()}
KINDS["normalised"] = {"kind": "linear", "normalize": True}
CHUNKS = (("dla", 3), ("titans", 2), ("titans", 100), ("yaad", 16))
KINDS |= {f"{kind} {chunk}": {"kind": kind, "chunk": chunk} for kind, chunk in CHUNKS}


def run(backend: Any, rule: Any, inputs: Any, carry: Any, segments: Any, d: Any) -> dict[str, Any]:
    """Everything a scan and its backward return, by name."""
    scan, saved = backend.scan(rule, inputs, carry, segments)
    d_inputs, d_carry = backend.scan_backward(saved, *d)
    found = {**scan._asdict(), **{f"d_{name}": x for name, x in d_inputs.items()}}
    return found | ({} if d_carry is None else {"d_carry": d_carry})


def problem(kind: Any, case: Case, dtype: str) -> tuple[Any, ...]:
    """Arguments of `run` after the backend."""
    rng = np.random.default_rng(0)
    rule, segments = make_recurrence(kind), cuts(case)
    case = conditioned(case, rule)
    inputs = rule_inputs(rule, case, dtype, rng)
    dims = rule.dims(inputs)
    size = int(np.prod(rule.state_shape(dims)))
    carry = None
    if case.cached:
        carry = (0.1 + rng.random((case.rows, case.heads, size))).astype(dtype)
        if rule.family == "deep":
            carry -= rng.random(carry.shape).astype(dtype)
            carry *= 0.3
    shape = (case.rows, segments.count, case.heads, size)
    d = rng.standard_normal((*dims[:3], dims.V)), rng.standard_normal(shape)
    return rule, inputs, carry, segments, tuple(x.astype(dtype) for x in d)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_scan_is_the_reference(kind: Any, case: Case, dtype: str) -> None:
    rule, inputs, carry, segments, d = problem(kind, case, dtype)
    got = run(FAST, rule, inputs, carry, segments, d)
    want = run(REFERENCE, rule, double(inputs), double(carry), segments, double(d))
    assert got.keys() == want.keys()
    for name in want:
        assert_same(got[name], want[name], dtype, name)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cut", ["one long segment", "chunks in a segment", "continued"])
@pytest.mark.parametrize("kind", ["gla", "rwkv7"])
def test_chunks_are_as_long_as_decays_allow(kind: str, cut: str, dtype: str) -> None:
    """Mild, stronger and strong decays in turn: chunks of every size, each after every other."""
    rule, inputs, carry, segments, d = problem(kind, CASES[cut], dtype)
    rng = np.random.default_rng(1)
    decay = inputs["log_decay"]
    decay[:] = -0.6065 * rng.random(decay.shape)
    decay[:, 44:66], decay[:, 66:77], decay[:, 90:91, :, ::3] = -1.5, -3, -40
    got = run(FAST, rule, inputs, carry, segments, d)
    want = run(REFERENCE, rule, double(inputs), double(carry), segments, double(d))
    for name in want:
        assert_same(got[name], want[name], dtype, name)


@pytest.mark.parametrize("decay", [-40.0, -8.0])
@pytest.mark.parametrize("kind", ["gated_linear", "gated_delta", "gla", "rwkv7"])
def test_gradient_of_tiny_decays_keeps_its_digits(kind: str, decay: float) -> None:
    """Each entry is of order e^decay; a difference of sums of order one would leave none of it."""
    rule, inputs, carry, segments, d = problem(kind, CASES["one long segment"], "float64")
    inputs["log_decay"][:] = decay
    got = run(FAST, rule, inputs, carry, segments, d)["d_log_decay"]
    want = run(REFERENCE, rule, inputs, carry, segments, d)["d_log_decay"]
    error = np.abs(got - want) / np.abs(want).max()
    assert error.max() < 1e-12
    # One decayed token among others that do not decay at all.
    inputs["log_decay"][:] = 0
    inputs["log_decay"][:, 40] = decay
    got = run(FAST, rule, inputs, carry, segments, d)["d_log_decay"][:, 40]
    want = run(REFERENCE, rule, inputs, carry, segments, d)["d_log_decay"][:, 40]
    np.testing.assert_allclose(got, want, rtol=1e-9)


@pytest.mark.parametrize(
    "kind", ["linear", "gated_delta", "gla", "rwkv7", "mlstm", "titans", "lstm", "gru", "slstm"]
)
def test_bits_do_not_depend_on_threads(kind: str) -> None:
    arguments = problem(kind, WIDE, "float32")
    one, more = run(SERIAL, *arguments), run(FAST, *arguments)
    for name in one:
        np.testing.assert_array_equal(one[name], more[name])


def test_read_only_and_scattered_inputs() -> None:
    rule, inputs, carry, segments, d = problem("gated_delta", CASES["continued"], "float64")
    want = run(FAST, rule, inputs, carry, segments, d)
    scattered = {}
    for name, x in inputs.items():
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan)
        wide[..., ::2] = x
        scattered[name] = wide[..., ::2]
        scattered[name].flags.writeable = False
    carry.flags.writeable = False
    got = run(FAST, rule, scattered, carry, segments, d)
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


def test_inputs_are_not_written_to() -> None:
    rule, inputs, carry, segments, d = problem("gated_delta", CASES["continued"], "float64")
    before = {name: x.copy() for name, x in inputs.items()}, carry.copy(), d[1].copy()
    run(FAST, rule, inputs, carry, segments, d)
    for name, x in before[0].items():
        np.testing.assert_array_equal(inputs[name], x)
    np.testing.assert_array_equal(carry, before[1])
    np.testing.assert_array_equal(d[1], before[2])
