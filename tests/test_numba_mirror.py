"""Mirror descent in fast kernels: soup, threads, storage, and sources of extreme size."""

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
    rule_inputs,
)

from mcore.axes import make_recurrence
from mcore.backends.numba_cpu.mirror_work import MirrorInputs, backward_work

KINDS = ("moneta", "memora")


def problem(kind: str, case: Case, dtype: str) -> tuple[Any, ...]:
    """Rule, inputs, carry and segments; then checkpoints and gates of a soup.

    At least two key channels: with one, all hidden units of Memora say the same, W never changes,
    and what is left of many a gradient is rounding.
    """
    rng, keys = np.random.default_rng(0), max(case.keys, 2)
    case = case._replace(keys=keys, values=keys)
    rule, segments = make_recurrence(kind), cuts(case)
    inputs = rule_inputs(rule, case, dtype, rng)
    dims = rule.dims(inputs)
    shape = rule.state_shape(dims)
    states = rng.standard_normal((case.rows, segments.columns + 1, case.heads, np.prod(shape)))
    states = (states / case.keys**0.5).astype(dtype)
    carry = states[:, -1] if case.cached else None
    gates = rng.random((*dims[:3], segments.columns + 1)).astype(dtype)
    gates[..., :-1] *= segments.visible[:, :, None]
    return rule, inputs, carry, segments, (states[:, :-1], gates)


def run(backend: Any, given: tuple[Any, ...]) -> dict[str, Any]:
    """Everything that a soup and its backward return, by name."""
    y, saved = backend.soup(*given)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    d_inputs, d_carry, d_checkpoints, d_gates = backend.soup_backward(saved, dy)
    found = {"y": y, "checkpoints": d_checkpoints, "gates": d_gates, **d_inputs}
    return found | ({} if d_carry is None else {"carry": d_carry})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_soup_is_the_reference(kind: str, case: Case, dtype: str) -> None:
    rule, inputs, carry, segments, cached = problem(kind, case, dtype)
    got = run(FAST, (rule, inputs, carry, segments, cached))
    want = run(REFERENCE, (rule, double(inputs), double(carry), segments, double(cached)))
    assert got.keys() == want.keys()
    for name in want:
        # A gate of exactly 0 means "not read", and has no gradient.
        read = np.where(cached[1] == 0, 0, want[name]) if name == "gates" else want[name]
        assert_same(got[name], read, dtype, name)


@pytest.mark.parametrize("kind", KINDS)
def test_bits_do_not_depend_on_threads(kind: str) -> None:
    given = problem(kind, WIDE._replace(tokens=90), "float32")
    one, more = run(SERIAL, given), run(FAST, given)
    for name in one:
        np.testing.assert_array_equal(one[name], more[name])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kind", "scale"), [("moneta", 1e-20), ("moneta", 1e10), ("moneta", 0.0), ("memora", 1e3)]
)
def test_sources_of_extreme_size(kind: str, scale: float, dtype: str) -> None:
    rule, inputs, _, segments, _ = problem(kind, CASES["short last segment"], dtype)
    factor = inputs["w_in"].dtype.type(scale)
    inputs |= {"w_in": factor * inputs["w_in"], "step": 0 * inputs["step"]}
    inputs["log_decay"] /= 40
    found, saved = FAST.scan(rule, inputs, None, segments)
    want, kept = REFERENCE.scan(rule, double(inputs), None, segments)
    limit = 4e-5 if dtype == "float32" else 1e-10
    np.testing.assert_allclose(found.reads, want.reads, rtol=limit, atol=limit)
    d = np.ones_like(found.reads), np.zeros_like(found.checkpoints)
    gradients, _ = FAST.scan_backward(saved, *d)
    wanted, _ = REFERENCE.scan_backward(kept, *double(d))
    for name in ("q", "k", "v", "w_out"):
        np.testing.assert_allclose(
            gradients[name], wanted[name], rtol=limit, atol=limit * (1 + np.abs(wanted[name]).max())
        )


def test_storage_of_backward_grows_with_the_root_of_the_tokens() -> None:
    def storage(tokens: int) -> int:
        token = np.empty((1, tokens, 1, 8))
        scalar, none = token[..., 0], np.empty((0, 0, 0, 0))
        start = np.empty((1, 32, 512))
        arrays: list[Any] = [
            token,
            token,
            token,
            scalar,
            scalar,
            np.empty((0, 0, 0)),
            none,
            start,
            none,
        ]
        arrays += [np.array([[0, tokens]]), np.ones((1, 1), bool), True]
        x = MirrorInputs(*arrays)
        work = backward_work(x)
        assert work.starts.shape[0] * (work.states.shape[0] - 1) >= tokens
        return int(work.starts.size + work.states.size)

    assert storage(1600) < 2.2 * storage(400)
    assert storage(1) <= 3 * 2 * 8 * 512
