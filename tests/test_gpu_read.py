"""Reads of matrix memories on the GPU, emulated, against the reference."""

from typing import Any

import numpy as np
import pytest
from gpu_cases import hold
from gpu_routing import (
    CASES,
    DTYPES,
    HEADS,
    REFERENCE,
    WIDTHS,
    Case,
    assert_near,
    cuts,
    double,
    down,
    gpu,
    normal,
    same_bits,
    up,
)

from mcore.axes import make_recurrence
from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.recurrence import Recurrence
from mcore.testing.gradcheck import check_pair
from mcore.testing.strategies import Example, Sizes

NORMALIZED = {"kind": "linear", "normalize": True}
AXES: dict[str, Any] = {"plain": "gla", "divided": NORMALIZED, "inside": "swla"}
FORMS = {name: make_recurrence(axis) for name, axis in AXES.items()}
"""How a checkpoint holds the matrix that is read."""

READERS = {**CASES, "one token": Case(2, 1, {"kind": "constant", "length": 8}, 3)}
"""Cases in which there is something to read."""


def reading(case: Case, rule: Recurrence, dtype: str, widths: tuple[int, int]) -> Any:
    """(q, checkpoints, gates), and a gradient of what `read` returns."""
    rng, segments, (keys, values) = np.random.default_rng(0), cuts(case), widths
    extra = rule.kind == "swla", rule.kind == "swla" or not rule.linear_read
    lead, columns = (case.rows, case.tokens, HEADS), segments.columns
    q = normal(rng, dtype, *lead, keys)
    states = normal(rng, dtype, case.rows, columns, HEADS, keys + extra[0], values + extra[1])
    if not rule.linear_read:
        q, states[..., -1] = 0.2 + abs(q), 0.2 + abs(states[..., -1])
    gates = normal(rng, dtype, *lead, columns)
    checkpoints = states.reshape(*states.shape[:3], -1).copy()
    return (q, checkpoints, gates), normal(rng, dtype, *lead, values)


def both_ways(case: Case, rule: Recurrence, arrays: Any, seed: int = 1) -> Any:
    """What a read and its backward give, on the GPU."""
    backend = gpu(seed)
    arguments, dy = up(backend, arrays)
    y, saved = backend.read(rule, *(*arguments, cuts(case)))
    return down(backend, (y, backend.read_backward(saved, dy)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("case", READERS.values(), ids=READERS.keys())
def test_read_is_the_reference(case: Case, rule: Recurrence, dtype: str) -> None:
    arrays = reading(case, rule, dtype, WIDTHS[dtype])
    arguments, dy = double(arrays)
    y, saved = REFERENCE.read(rule, *(*arguments, cuts(case)))
    want = y, REFERENCE.read_backward(saved, dy)
    assert_near(both_ways(case, rule, arrays), want, dtype)


RANDOM = {"kind": "ssc", "top_k": 2, "router": "random"}


@pytest.mark.parametrize("readout", ["residual", "moving_average", RANDOM], ids=str)
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
def test_memories_read_as_the_reference_does(start: str, readout: Any) -> None:
    """Constant gates come as None, one mixture for each segment; gates by lot as an array."""
    lengths = [[3, 9, 1, 20], [33]]
    composition: Any = {
        "recurrence": "delta",
        "segmentation": {"kind": "given", "lengths": lengths},
        "readout": readout,
        "start": start,
    }
    example = Example(composition, Sizes(2, 33, 2, 16, 16), 0)
    assert "read_backward" in hold(example, "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("readout", ["soup", {"kind": "soup", "online": "outside"}], ids=str)
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
def test_soup_of_normalised_memories_is_the_reference(start: str, readout: Any, dtype: str) -> None:
    composition: Any = {
        "recurrence": {**NORMALIZED, "feature_map": "elu1"},
        "segmentation": {"kind": "given", "lengths": [[3, 9, 1, 4], [17]]},
        "readout": readout,
        "start": start,
    }
    assert "soup_backward" in hold(Example(composition, Sizes(2, 17, 2, 3, 2), 0), dtype)


def test_gates_may_be_part_of_a_larger_array() -> None:
    case, rule, backend = CASES["ragged"], FORMS["plain"], gpu()
    (q, states, gates), _ = up(backend, reading(case, rule, "float64", (3, 2)))
    whole = backend.xp.concatenate([gates, gates], axis=-1)
    part = whole[..., : gates.shape[-1]]
    y, _ = backend.read(rule, q, states, part, cuts(case))
    want, _ = backend.read(rule, q, states, gates, cuts(case))
    np.testing.assert_array_equal(down(backend, y), down(backend, want))


@pytest.mark.parametrize("rule", FORMS.values(), ids=FORMS.keys())
def test_backward_is_the_derivative(rule: Recurrence) -> None:
    case, backend = CASES["two tokens, the first of an open segment"], gpu()
    arguments, _ = reading(case, rule, "float64", (3, 2))

    def forward(*arrays: Any) -> Any:
        y, saved = backend.read(rule, *(*up(backend, arrays), cuts(case)))
        return down(backend, y), saved

    def backward(saved: Any, dy: Any) -> Any:
        return down(backend, backend.read_backward(saved, up(backend, dy)))

    named = dict(zip(("q", "checkpoints", "gates"), arguments, strict=True))
    check_pair(forward, backward, named)


def test_any_order_of_threads_gives_the_same_bits() -> None:
    case, rule = CASES["more than a block of tokens"], FORMS["divided"]
    arrays = reading(case, rule, "float32", (17, 9))
    found = [both_ways(case, rule, arrays, seed) for seed in (0, 1, 7)]
    assert same_bits(found)


def test_a_second_call_waits_for_nothing() -> None:
    case, rule, backend = CASES["ragged"], FORMS["divided"], gpu()
    arguments, dy = up(backend, reading(case, rule, "float64", (3, 2)))
    for _ in range(2):
        traffic.reset()
        _, saved = backend.read(rule, *(*arguments, cuts(case)))
        backend.read_backward(saved, dy)
    assert (traffic.down, traffic.up) == (0, 0)
