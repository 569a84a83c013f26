"""Matrix LSTMs on the GPU, emulated, against the reference: scan, cached reads, soup."""

from typing import Any

import numpy as np
import pytest
from gpu_cases import hold
from gpu_problems import (
    CASES,
    REFERENCE,
    Case,
    assert_near,
    by_reference,
    cuts,
    gpu,
    hold_packed,
    on_gpu,
    problem,
)

from mcore.backends.cupy_gpu.emulation.array import traffic
from mcore.backends.cupy_gpu.host import moved
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import Composition, Example, Sizes

SMALLEST = 1e-2
"""Gradients of gates are sums that cancel: with nothing to forget that of fgate is rounding."""

OPEN = CASES["two tokens of an open segment"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_scan_is_the_reference(case: Case) -> None:
    given = problem("mlstm", case, "float64")
    assert_near(on_gpu(given, gpu()), by_reference(given), "float64", SMALLEST)


@pytest.mark.parametrize("widths", [(17, 9), (64, 64)])
def test_other_widths(widths: tuple[int, int]) -> None:
    given = problem("mlstm", Case((1, 41, 1, *widths), "none"), "float64")
    assert_near(on_gpu(given, gpu()), by_reference(given), "float64", SMALLEST)


def test_floats_are_as_exact_as_floats_are() -> None:
    for case in (CASES["ragged"], Case((1, 71, 1, 16, 15), {"kind": "constant", "length": 70})):
        given = problem("mlstm", case, "float32")
        assert_near(on_gpu(given, gpu()), by_reference(given), "float32", SMALLEST)


@pytest.mark.parametrize("igate", [-70.0, 0.0, 70.0])
@pytest.mark.parametrize("fgate", [-40.0, 0.0, 40.0])
def test_any_gate_is_ordinary(igate: float, fgate: float) -> None:
    """Denominators are then least ones, or have no use for them."""
    given = problem("mlstm", CASES["continued"], "float64", igate=igate, fgate=fgate)
    assert_near(on_gpu(given, gpu()), by_reference(given), "float64", SMALLEST)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
@pytest.mark.parametrize("readout", ["residual", "grm", "soup"])
def test_memories_are_read_as_by_the_reference(readout: str, start: str, dtype: str) -> None:
    lengths = [[3, 9, 1, 20], [33]] if dtype == "float64" else [[3, 5], [8]]
    composition: Composition = {
        "recurrence": "mlstm",
        "segmentation": {"kind": "given", "lengths": lengths},
        "readout": readout,
        "start": start,
    }
    compared = hold(Example(composition, Sizes(2, sum(lengths[0]), 2, 3, 2), 0), dtype)
    assert {"scan_backward", f"{'soup' if readout == 'soup' else 'read'}_backward"} <= compared


def test_more_checkpoints_than_a_block_weighs() -> None:
    composition: Composition = {
        "recurrence": "mlstm",
        "segmentation": {"kind": "constant", "length": 2},
        "readout": "grm",
        "start": "checkpoint",
    }
    assert "read_backward" in hold(Example(composition, Sizes(1, 75, 1, 3, 2), 0), "float64")


@pytest.mark.parametrize("readout", ["residual", "soup", {"kind": "soup", "online": "outside"}])
@pytest.mark.parametrize("start", ["independent", "checkpoint"])
def test_documents_and_states(start: str, readout: Any) -> None:
    assert "scan_backward" in hold_packed("mlstm", start, readout)


def operations(backend: Any, move: Any) -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """Scan, read and soup, each as (forward, backward, inputs) over dicts of host arrays."""
    given, rng = problem("mlstm", OPEN, "float64"), np.random.default_rng(3)
    B, T, H, K, V = OPEN.sizes
    columns = given.segments.columns
    cached = {
        "checkpoints": rng.standard_normal((B, columns, H, (K + 1) * (V + 1))),
        "gates": rng.random((B, T, H, columns + 1)),
    }
    up, down = move

    def scan(arrays: Any) -> Any:
        inputs = up(arrays)
        carry = inputs.pop("carry")
        found, saved = backend.scan(given.rule, inputs, carry, given.segments)
        return down(tuple(found)), saved

    def scan_backward(saved: Any, *d: Any) -> Any:
        found, d_carry = backend.scan_backward(saved, *up(d))
        return down({**found, "carry": d_carry})

    def read(arrays: Any) -> Any:
        q, states, gates = up(tuple(arrays.values()))
        y, saved = backend.read(given.rule, q, states, gates, given.segments)
        return down(y), saved

    def read_backward(saved: Any, dy: Any) -> Any:
        return dict(zip(("q", *cached), down(backend.read_backward(saved, up(dy))), strict=True))

    def soup(arrays: Any) -> Any:
        inputs = up(arrays)
        carry, *rest = (inputs.pop(name) for name in ("carry", *cached))
        y, saved = backend.soup(given.rule, inputs, carry, given.segments, tuple(rest))
        return down(y), saved

    def soup_backward(saved: Any, dy: Any) -> Any:
        found, *rest = backend.soup_backward(saved, up(dy))
        return down({**found, **dict(zip(("carry", *cached), rest, strict=True))})

    online = {**given.inputs, "carry": given.carry}
    reading = {"q": given.inputs["q"], **cached, "gates": cached["gates"][..., :-1].copy()}
    return {
        "scan": (scan, scan_backward, online),
        "read": (read, read_backward, reading),
        "soup": (soup, soup_backward, {**online, **cached}),
    }


def moves(backend: Any) -> Any:
    """To the device and back, also inside tuples and dicts."""
    up, down = backend.device.upload, backend.device.download
    return (
        lambda x: moved(x, up, np.ndarray),
        lambda x: moved(x, down, backend.xp.ndarray),
    )


@pytest.mark.parametrize("name", ["scan", "read", "soup"])
def test_backward_is_the_derivative(name: str) -> None:
    forward, backward, inputs = operations(gpu(), moves(gpu()))[name]
    check_inputs(forward, backward, inputs)


def test_any_order_of_threads_gives_the_same_bits() -> None:
    for name in ("scan", "read", "soup"):
        found = []
        for seed in (0, 1, 7):
            forward, backward, inputs = operations(gpu(seed), moves(gpu()))[name]
            y, saved = forward(inputs)
            d = y if isinstance(y, tuple) else (y,)
            found.append({"y": d[0], **backward(saved, *d)})
        for other in found[1:]:
            for key, x in found[0].items():
                np.testing.assert_array_equal(other[key], x, err_msg=f"{name} {key}")


def test_a_second_call_copies_nothing() -> None:
    backend = gpu()
    up, _ = moves(backend)
    for name in ("scan", "read", "soup"):
        forward, backward, inputs = operations(backend, (lambda x: dict(x) if isinstance(x, dict)
                                                         else x, lambda x: x))[name]  # fmt: skip
        inputs = up(inputs)
        for _ in range(2):
            traffic.reset()
            y, saved = forward(inputs)
            backward(saved, *(y if isinstance(y, tuple) else (y,)))
        assert (traffic.down, traffic.up) == (0, 0), name


def test_a_token_that_sees_nothing_is_answered_with_zeros() -> None:
    segments, backend = cuts(CASES["ragged"]), gpu()
    given, rng = problem("mlstm", CASES["ragged"], "float64"), np.random.default_rng(0)
    B, _, H, K, V = CASES["ragged"].sizes
    states = rng.standard_normal((B, segments.columns, H, (K + 1) * (V + 1)))
    up, down = moves(backend)
    q, cached = up((given.inputs["q"], states))
    got, _ = backend.read(given.rule, q, cached, None, segments)
    want, _ = REFERENCE.read(given.rule, given.inputs["q"], states, None, segments)
    np.testing.assert_allclose(down(got), want, atol=1e-12)
    assert (down(got)[0, :10] == 0).all()
