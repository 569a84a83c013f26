"""The `sigmoid` readout on the GPU, emulated, against what it is composed of."""

from typing import Any

import numpy as np
import pytest
from gpu_cases import Held, hold
from gpu_fused import ComposedSigmoid
from gpu_routing import (
    CASES,
    DTYPES,
    HEADS,
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

import mcore
from mcore.axes import make_recurrence
from mcore.backend import AnswerGates
from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.recurrence import Recurrence
from mcore.testing.gradcheck import check_pair
from mcore.testing.strategies import Example, Sizes

RULES = {name: make_recurrence(name) for name in ("gla", "swla")}


def reading(case: Case, rule: Recurrence, dtype: str, widths: tuple[int, int] | None = None) -> Any:
    """(q, reads, checkpoints, gates), and a gradient of y."""
    rng, columns = np.random.default_rng(0), cuts(case).columns
    keys, values = widths or WIDTHS[dtype]
    lead, extra = (case.rows, case.tokens, HEADS), rule.kind == "swla"
    size = (keys + extra) * (values + extra)
    matrix = (HEADS, values, values)
    gates = AnswerGates(*(normal(rng, dtype, *shape) for shape in (matrix, matrix, matrix[:2])))
    q, reads = normal(rng, dtype, *lead, keys), normal(rng, dtype, *lead, values)
    states = normal(rng, dtype, case.rows, columns, HEADS, size)
    return (q, reads, states, gates), normal(rng, dtype, *lead, values)


def both_ways(case: Case, rule: Recurrence, arrays: Any, seed: int = 1) -> Any:
    """What the readout and its backward give, on the GPU."""
    backend = gpu(seed)
    arguments, dy = up(backend, arrays)
    layer = backend.sigmoid_read(rule)
    assert layer is not None
    y, saved = layer.forward(*(*arguments, cuts(case)))
    return down(backend, (y, layer.backward(saved, dy)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_sigmoid_read_is_its_operations(case: Case, rule: Recurrence, dtype: str) -> None:
    arrays = reading(case, rule, dtype)
    arguments, dy = double(arrays)
    composed = ComposedSigmoid(rule)
    y, saved = composed.forward(*(*arguments, cuts(case)))
    assert_near(both_ways(case, rule, arrays), (y, composed.backward(saved, dy)), dtype)


@pytest.mark.parametrize("start", ["independent", "checkpoint"])
def test_documents_and_states(start: str) -> None:
    axes: Any = {
        "recurrence": "delta",
        "segmentation": {"kind": "constant", "length": 4},
        "readout": "sigmoid",
        "start": start,
    }
    example, backend = Example(axes, Sizes(2, 19, 2, 16, 16), 0), Held("float64")
    memory = mcore.memory(**axes, backend=backend, dtype="float64")
    document = np.array([[1] * 5 + [2] * 14, [3] * 17 + [-1] * 2])
    first, second = example.pieces([9, 10])
    _, saved = memory.forward(first, document=document[:, :9])
    _, then = memory.forward(second, saved.end, document=document[:, 9:])
    d_end = memory.backward(then, example.dy[:, 9:])["state"]
    memory.backward(saved, example.dy[:, :9], d_end)
    assert {"sigmoid", "sigmoid_backward"} <= backend.compared


def test_a_memory_without_checkpoints() -> None:
    axes: Any = {"recurrence": "delta", "segmentation": "none", "readout": "sigmoid"}
    axes["start"] = "independent"
    example = Example(axes, Sizes(1, 3, 1, 3, 2), 0)
    assert "sigmoid_backward" in hold(example, "float64")


def test_backward_is_the_derivative() -> None:
    case, backend = CASES["two tokens, the first of an open segment"], gpu()
    (q, reads, states, gates), _ = reading(case, RULES["swla"], "float64")
    layer = backend.sigmoid_read(RULES["swla"])
    assert layer is not None

    def forward(q: Any, reads: Any, states: Any, *gates: Any) -> Any:
        arrays = up(backend, (q, reads, states, AnswerGates(*gates)))
        y, saved = layer.forward(*(*arrays, cuts(case)))
        return down(backend, y), saved

    def backward(saved: Any, dy: Any) -> Any:
        *found, d_gates = down(backend, layer.backward(saved, up(backend, dy)))
        return *found, *d_gates

    named = {"q": q, "reads": reads, "states": states, **gates._asdict()}
    check_pair(forward, backward, named)


def test_wide_heads_come_in_parts() -> None:
    """Matrices that a block cannot hold at once."""
    case, rule = Case(1, 9, {"kind": "constant", "length": 4}), RULES["gla"]
    arrays = reading(case, rule, "float64", (70, 9))
    arguments, dy = arrays
    composed = ComposedSigmoid(rule)
    y, saved = composed.forward(*(*arguments, cuts(case)))
    assert_near(both_ways(case, rule, arrays), (y, composed.backward(saved, dy)), "float64")


def test_any_order_of_threads_gives_the_same_bits() -> None:
    case, rule = CASES["more than a block of tokens"], RULES["gla"]
    arrays = reading(case, rule, "float32")
    assert same_bits([both_ways(case, rule, arrays, seed) for seed in (0, 1, 7)])


def test_a_second_call_waits_for_nothing() -> None:
    case, backend = CASES["ragged"], gpu()
    arguments, dy = up(backend, reading(case, RULES["gla"], "float64"))
    layer = backend.sigmoid_read(RULES["gla"])
    assert layer is not None
    for _ in range(2):
        traffic.reset()
        _, saved = layer.forward(*(*arguments, cuts(case)))
        layer.backward(saved, dy)
    assert (traffic.down, traffic.up) == (0, 0)


def test_what_has_the_kernels() -> None:
    normalized = make_recurrence({"kind": "linear", "normalize": True})
    assert gpu().sigmoid_read(normalized) is None
    assert gpu().sigmoid_read(make_recurrence("lstm")) is None
