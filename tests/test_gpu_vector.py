"""Vector memories on the GPU, emulated: runs of blocks, wide ones step by step, reads, bits."""

from typing import Any

import numpy as np
import pytest
from gpu_cases import Held, hold
from gpu_hosted import LIMITS, Hosted, copies
from numba_cases import REFERENCE, Case, cuts
from test_numba_vector import RULES, Problem, problem

import mcore
from mcore.backends.cupy_gpu import vector_plan, vector_recurrent
from mcore.backends.cupy_gpu.vector_runs import run_table
from mcore.testing import packing, streaming
from mcore.testing.agreement import assert_agree
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import Example, Sizes

GPU = Hosted()


def assert_held(given: Problem, dtype: str, gpu: Any = GPU) -> None:
    """Everything a scan and its backward return is the reference's in float64."""
    got, want = given.run(gpu), given.double().run(REFERENCE)
    assert got.keys() == want.keys()
    for name in sorted(want.keys() - {"d_q"}):
        assert got[name].dtype == dtype
        assert_agree(got[name], want[name], LIMITS[dtype], name)


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("kind", RULES)
def test_rows_are_cut_where_they_like_and_go_on_from_states(kind: str, dtype: str) -> None:
    for sizes in ((5, 9, 2, 3), (1, 1, 1, 1), (2, 2, 1, 16)):
        assert_held(problem(kind, sizes, dtype), dtype)


@pytest.mark.parametrize(("kind", "rows", "width"), [
    ("lstm", 2, 64), ("gru", 4, 33), ("slstm", 4, 20),
])  # fmt: skip
def test_runs_that_share_a_block(
    monkeypatch: pytest.MonkeyPatch, kind: str, rows: int, width: int
) -> None:
    monkeypatch.setattr(vector_plan, "BLOCKS", 2 if rows == 2 else 1)
    given = problem(kind, (3 if rows == 2 else 7, 8, 1, width), "float32")
    shape = vector_plan.VectorShape(kind, "float32", "float32", width, given.rule.gates)
    assert vector_plan.plan(shape, len(run_table(given.segments)), 1).rows == rows
    assert_held(given, "float32")


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_stretches_of_the_gradient_of_weights(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Parts of the sum, the last one short, and blocks of columns that end in between."""
    monkeypatch.setattr(vector_recurrent, "FEWEST", 20)
    assert vector_recurrent._stretches(3 * 47, 4) == 7
    assert_held(problem(kind, (3, 47, 1, 35), "float64"), "float64")


def test_weights_that_registers_do_not_hold() -> None:
    given = problem("lstm", (1, 3, 1, 64), "float64")
    shape = vector_plan.VectorShape("lstm", "float64", "float64", 64, 4)
    assert vector_plan.plan(shape, 1, 1).forward > 64 << 10
    assert_held(given, "float64")


@pytest.mark.parametrize("kind", RULES)
def test_wide_memories_go_step_by_step(kind: str) -> None:
    shape = vector_plan.VectorShape(kind, "float32", "float32", 130, 4)
    assert vector_plan.plan(shape, 1, 1).rows == 0
    for sizes in ((3, 7, 2, 130), (2, 1, 1, 160)):
        assert_held(problem(kind, sizes, "float64"), "float64")


def test_what_lies_between_runs_and_blocks_that_one_multiprocessor_holds() -> None:
    """No layout asks for more than a GPU has, and wide heads are told from narrow ones."""
    for real, widest in (("float32", 128), ("float64", 80)):
        for width in range(1, 200):
            shape = vector_plan.VectorShape("lstm", real, real, width, 4)
            found = vector_plan.plan(shape, 1000, 8)
            assert max(found.forward, found.backward) <= vector_plan.LARGEST_SHARED
            assert bool(found.rows) == (width <= widest)


@pytest.mark.parametrize("kind", RULES)
def test_backward_is_the_derivative(kind: str) -> None:
    given = problem(kind, (2, 5, 2, 3), "float64")

    def forward(x: Any) -> Any:
        inputs = {name: x[name] for name in given.inputs}
        scan, saved = GPU.scan(given.rule, inputs, x["carry"], given.segments)
        return tuple(scan), saved

    def backward(saved: Any, *d: Any) -> Any:
        d_inputs, d_carry = GPU.scan_backward(saved, *d)
        return {**d_inputs, "carry": d_carry}

    inputs = {name: x for name, x in given.inputs.items() if x.size}
    given = given._replace(inputs=inputs)
    check_inputs(forward, backward, {**inputs, "carry": given.carry})


@pytest.mark.parametrize("kind", RULES)
def test_no_gate_overflows(kind: str) -> None:
    """Pre-activations of some hundreds, either way: gates are 0 or 1, and nothing is NaN."""
    given = problem(kind, (3, 9, 1, 5), "float64")
    inputs = {**given.inputs, "x": 300 * given.inputs["x"]}
    assert_held(given._replace(inputs=inputs), "float64")


def composition(kind: str, segmentation: Any, readout: Any, start: str) -> Any:
    return {
        "recurrence": kind, "segmentation": segmentation, "readout": readout, "start": start,
    }  # fmt: skip


GIVEN = {"kind": "given", "lengths": [[3, 1, 7], [11]]}
READS = [
    ({"kind": "constant", "length": 4}, "grm", "independent", Sizes(2, 11, 2, 3, 5)),
    (GIVEN, "residual", "checkpoint", Sizes(2, 11, 2, 3, 2)),
    ("logarithmic", {"kind": "ssc", "top_k": 2}, "checkpoint", Sizes(1, 13, 2, 4, 16)),
    ({"kind": "constant", "length": 1}, "grm", "checkpoint", Sizes(1, 70, 1, 4, 3)),
    ({"kind": "constant", "length": 2}, "grm", "independent", Sizes(1, 5, 1, 2, 66)),
]


@pytest.mark.parametrize("axes", READS, ids=str)
def test_memories_hold(axes: Any) -> None:
    for kind in RULES if axes[-1].V <= 16 else ("gru",):
        assert "scan" in hold(Example(composition(kind, *axes[:3]), axes[3], 0), "float64")


def test_reads_hold_in_float32() -> None:
    axes = composition("lstm", {"kind": "constant", "length": 1}, "grm", "checkpoint")
    assert "read_backward" in hold(Example(axes, Sizes(1, 36, 1, 4, 3), 0), "float32")


@pytest.mark.parametrize("kind", RULES)
def test_streams_and_documents_hold(kind: str) -> None:
    axes = composition(kind, {"kind": "constant", "length": 3}, "grm", "checkpoint")
    example = Example(axes, Sizes(2, 8, 2, 3, 5), 1)
    document = np.array([[4, 4, 4, 4, 7, 7, 1, -1], [0, 0, 2, 2, 2, -1, -1, -1]])

    def make(given: Any) -> Any:
        return mcore.memory(**given, backend=Held("float64"), dtype="float64")

    packing.packed_equals_separate(make, example, document, 1e-9)
    streaming.stream_equals_batch(make, example, [3, 1, 4], 1e-9)
    streaming.chained_backward_equals_whole(make, example, [3, 1, 4], 1e-9)


@pytest.mark.parametrize("kind", RULES)
def test_bits_do_not_depend_on_the_order_of_threads(kind: str) -> None:
    given = problem(kind, (5, 9, 2, 3), "float32")
    first = given.run(Hosted(0))
    for seed in (1, 2, 3):
        for name, x in given.run(Hosted(seed)).items():
            np.testing.assert_array_equal(x, first[name], err_msg=name)


@pytest.mark.parametrize("width", [3, 130])
def test_a_second_call_copies_nothing(width: int) -> None:
    given = problem("gru", (2, 5, 1, width), "float64")
    rule, segments, gpu = given.rule, given.segments, GPU.gpu
    inputs, carry, d = GPU.up((given.inputs, given.carry, given.d))

    def run() -> None:
        _, saved = gpu.scan(rule, inputs, carry, segments)
        gpu.scan_backward(saved, *d)

    assert copies(gpu, run) == (0, 0)


def test_a_second_read_copies_nothing() -> None:
    segments = cuts(Case(2, 9, 1, 1, 1, {"kind": "constant", "length": 2}))
    rng, rule, gpu = np.random.default_rng(0), problem("lstm", (1, 1, 1, 3), "float64").rule, GPU
    checkpoints = rng.random((2, segments.columns, 1, 6))
    shapes = (2, 9, 1, 0), (2, 9, 1, segments.columns), (2, 9, 1, 3)
    q, gates, dy = (rng.random(shape) for shape in shapes)
    q, checkpoints, gates, dy = gpu.up((q, checkpoints, gates, dy))

    def run() -> None:
        _, saved = gpu.gpu.read(rule, q, checkpoints, gates, segments)
        gpu.gpu.read_backward(saved, dy)

    assert copies(gpu.gpu, run) == (0, 0)
