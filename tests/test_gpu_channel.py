"""Scans with a decay per channel on the GPU, emulated, against the reference."""

from typing import Any

import numpy as np
import pytest
from gpu_cases import hold
from gpu_problems import (
    CASES,
    Case,
    assert_near,
    by_reference,
    gpu,
    hold_packed,
    on_gpu,
    problem,
)

from mcore.backends.cupy_gpu.channel_chunks import cut, tiles_for
from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.errors import BackendError
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import Composition, Example, Sizes

KINDS = ("gla", "rwkv7")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("kind", KINDS)
def test_scan_is_the_reference(kind: str, case: Case) -> None:
    given = problem(kind, case, "float64")
    assert_near(on_gpu(given, gpu()), by_reference(given), "float64")


@pytest.mark.parametrize("widths", [(17, 9), (64, 64)])
@pytest.mark.parametrize("kind", KINDS)
def test_other_widths(kind: str, widths: tuple[int, int]) -> None:
    """Several tiles of values; keys that are filled up."""
    given = problem(kind, Case((1, 41, 1, *widths), "none"), "float64")
    assert_near(on_gpu(given, gpu()), by_reference(given), "float64")


@pytest.mark.parametrize("kind", KINDS)
def test_floats_are_as_exact_as_floats_are(kind: str) -> None:
    """Tensor cores' products of halves lose nothing."""
    for case in (CASES["ragged"], Case((1, 71, 1, 16, 16), {"kind": "constant", "length": 70})):
        given = problem(kind, case, "float32")
        assert_near(on_gpu(given, gpu()), by_reference(given), "float32")


@pytest.mark.parametrize("log_decay", [0.0, -3.0, -40.0])
@pytest.mark.parametrize("kind", KINDS)
def test_any_decay_is_ordinary(kind: str, log_decay: float) -> None:
    """Gradients of decays that leave nothing are tiny, and still exact in all digits."""
    given = problem(kind, CASES["more than two chunks"], "float64", log_decay=log_decay)
    assert_near(on_gpu(given, gpu()), by_reference(given), "float64")


@pytest.mark.parametrize("readout", ["none", "grm"])
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
@pytest.mark.parametrize("kind", KINDS)
def test_memories_scan_as_the_reference_does(kind: str, start: str, readout: str) -> None:
    composition: Composition = {
        "recurrence": kind,
        "segmentation": {"kind": "given", "lengths": [[3, 9, 1, 20], [33]]},
        "readout": readout,
        "start": start,
    }
    compared = hold(Example(composition, Sizes(2, 33, 2, 16, 16), 0), "float64")
    assert compared & {"scan_backward", "fused_backward"}


@pytest.mark.parametrize("start", ["independent", "checkpoint"])
@pytest.mark.parametrize("kind", KINDS)
def test_documents_and_states_do_as_well(kind: str, start: str) -> None:
    assert {"scan", "scan_backward"} <= hold_packed(kind, start, "residual")


@pytest.mark.parametrize("kind", KINDS)
def test_backward_is_the_derivative(kind: str) -> None:
    given, backend = problem(kind, CASES["two tokens of an open segment"], "float64"), gpu()
    up, down = backend.device.upload, backend.device.download

    def forward(arrays: Any) -> Any:
        on_device = {name: up(x) for name, x in arrays.items()}
        carry = on_device.pop("carry")
        scan, saved = backend.scan(given.rule, on_device, carry, given.segments)
        return tuple(map(down, scan)), saved

    def backward(saved: Any, *d: Any) -> Any:
        found, d_carry = backend.scan_backward(saved, *map(up, d))
        assert d_carry is not None
        return {name: down(x) for name, x in {**found, "carry": d_carry}.items()}

    check_inputs(forward, backward, {**given.inputs, "carry": given.carry})


@pytest.mark.parametrize("kind", KINDS)
def test_any_order_of_threads_gives_the_same_bits(kind: str) -> None:
    given = problem(kind, CASES["ragged"], "float64")
    first, *others = (on_gpu(given, gpu(seed)) for seed in (0, 1, 7))
    for other in others:
        for name, x in first.items():
            np.testing.assert_array_equal(other[name], x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_call_copies_nothing(kind: str) -> None:
    given, backend = problem(kind, CASES["ragged"], "float64"), gpu()
    up = backend.device.upload
    inputs, d = {name: up(x) for name, x in given.inputs.items()}, [up(x) for x in given.d]
    for _ in range(2):
        traffic.reset()
        _, saved = backend.scan(given.rule, inputs, None, given.segments)
        backend.scan_backward(saved, d[0], d[1])
    assert (traffic.down, traffic.up) == (0, 0)


def test_chunks_end_with_segments() -> None:
    table, firsts = cut(np.array([[0, 5, 6, 6], [0, 2, 4, 6]]), 2)
    rows = [[0, 0, 2], [0, 2, 2], [0, 4, 1], [0, 5, 1], [1, 0, 2], [1, 2, 2], [1, 4, 2]]
    assert table.tolist() == rows
    assert firsts.tolist() == [[0, 3, 4, 4], [4, 5, 6, 7]]


def test_keys_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BackendError, match="narrower heads"):
        tiles_for("rwkv7", 2, (512, 512), 4)
