"""Memories on a GPU, emulated: every composition is that of the reference, and stays on the device.

Operations that have no kernel yet run in the reference; what is tested here is all around them.
"""

from itertools import product
from typing import Any

import numpy as np
import pytest
from gpu_memories import (
    by_reference,
    device,
    hold_course,
    hold_state,
    host_state,
    on_gpu,
    silent_memory,
)

from mcore.backends.cupy_gpu.emulation import namespace
from mcore.backends.cupy_gpu.emulation.array import DeviceArray, traffic
from mcore.errors import InputError
from mcore.testing.choices import EVERY_READOUT, RECURRENCES, STARTS, VARIANTS, Axis, takes
from mcore.testing.strategies import Example, Sizes

READOUTS = (*EVERY_READOUT, *VARIANTS)
CUTS: Axis = {"kind": "constant", "length": 3}
SIZES = Sizes(B=2, T=5, H=1, K=2, V=2)
FAMILIES: tuple[Axis, ...] = ("gated_delta", "mlstm", "gru", {"kind": "titans", "chunk": 2})
IDS = np.array([[4, 4, 4, 5, 5, 5, 5, 7, 7, -1], [1, 2, 2, 2, 2, 2, 2, 2, 2, 2]])


def example(recurrence: Axis, readout: Axis, start: str, **more: Any) -> Example:
    sizes = more.pop("sizes", SIZES)
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": CUTS,
        "readout": readout,
        "start": start,
        **more,
    }
    return Example(composition, sizes, 3)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_every_composition_in_uneven_pieces(recurrence: Axis) -> None:
    for readout, start in product(READOUTS, STARTS):
        if takes(recurrence, readout):
            hold_course(example(recurrence, readout, start), [2, 3])


@pytest.mark.parametrize("recurrence", FAMILIES, ids=str)
def test_documents_with_padding(recurrence: Axis) -> None:
    for readout, start in product(("residual", "grm", "soup", "sigmoid"), STARTS):
        long = example(recurrence, readout, start, sizes=SIZES._replace(T=10))
        hold_course(long, [10] if readout == "grm" else [4, 1, 5], IDS)


@pytest.mark.parametrize("recurrence", FAMILIES, ids=str)
@pytest.mark.parametrize(
    "cache",
    [
        {"limit": 2},
        {"limit": 2, "evict": "merge"},
        {"limit": 2, "evict": "least_used"},
        {"limit": 1, "evict": "merge", "dtype": "float16"},
        {"dtype": "bfloat16"},
        {"limit": 2, "dtype": "int8"},
        {"dtype": "float32"},
    ],
    ids=str,
)
def test_bounded_merged_and_rounded_caches(recurrence: Axis, cache: Any) -> None:
    for readout, start in (("grm", "checkpoint"), ("residual", "independent")):
        if cache.get("evict") == "least_used" and readout == "residual":
            continue
        long = example(recurrence, readout, start, cache=cache, sizes=SIZES._replace(T=10))
        hold_course(long, [4, 6], IDS)


@pytest.mark.parametrize(
    ("recurrence", "rule"),
    [
        ("linear", "drift"),
        ("mlstm", "drift"),
        ("gated_delta", "surprise"),
        (FAMILIES[3], "surprise"),
    ],
    ids=str,
)
def test_cuts_placed_by_content(recurrence: Axis, rule: str) -> None:
    cuts = {"kind": "adaptive", "rule": rule, "threshold": 0.6, "min": 2, "max": 5}
    for readout, start in product(("none", "residual", "grm"), STARTS):
        long = example(recurrence, readout, start, segmentation=cuts, sizes=SIZES._replace(T=10))
        hold_course(long, [4, 6], IDS if start == "checkpoint" else None)
        limited = {"limit": 1, "evict": "merge"}
        if readout != "none":
            hold_course(Example({**long.composition, "cache": limited}, long.sizes, 3), [4, 6])


@pytest.mark.parametrize("lengths", [[[3, 2], [1, 4]], [[2, 2, 1], [5]]], ids=str)
def test_rows_that_are_cut_apart(lengths: list[list[int]]) -> None:
    for recurrence, readout in product(FAMILIES, ("residual", "grm", "soup", "sigmoid")):
        cuts = {"kind": "given", "lengths": lengths}
        hold_course(example(recurrence, readout, "checkpoint", segmentation=cuts), [5])


@pytest.mark.parametrize("recurrence", FAMILIES, ids=str)
def test_steps_and_streams(recurrence: Axis) -> None:
    one = example(recurrence, "grm", "checkpoint")
    wanted, saved = by_reference(one).forward(one.inputs)
    memory = on_gpu(one)
    state: Any = None
    stream, stepped, fed = memory.stream(), [], []
    for piece in one.pieces([1, 1, 2, 1]):
        y, state = memory.step(piece, state)
        stepped.append(y)
        fed.append(stream.feed(piece))
    for pieces in (stepped, fed):
        assert all(isinstance(y, DeviceArray) for y in pieces)
        np.testing.assert_allclose(namespace.concatenate(pieces, 1).get(), wanted, atol=1e-9)
    hold_state("steps", state, saved.end)
    assert stream.state is not None
    hold_state("stream", stream.state, saved.end)


@pytest.mark.parametrize("recurrence", FAMILIES, ids=str)
@pytest.mark.parametrize(
    "readout", ["none", "residual", "grm", "soup", "sigmoid", "moving_average"]
)
def test_a_call_with_the_same_cuts_copies_nothing(recurrence: Axis, readout: Axis) -> None:
    for start, document in product(STARTS, (None, IDS)):
        one = example(recurrence, readout, start, sizes=SIZES._replace(T=10))
        memory, dy = silent_memory(one), device(one.dy)
        inputs = {name: device(x) for name, x in one.inputs.items()}
        for _ in range(2):
            traffic.reset()
            _, first = memory.forward(inputs, document=document)
            _, second = memory.forward(inputs, first.end, document=document)
            gradients = memory.backward(second, dy)
            memory.backward(first, dy, gradients["state"])
        assert (traffic.up, traffic.down) == (0, 0), f"{start}, {document}"


def test_only_gates_of_a_cache_that_asks_for_use_are_waited_for() -> None:
    """Once per border behind which checkpoints are chosen: three in each call of four segments."""
    for evict, waits in (("oldest", 0), ("merge", 0), ("least_used", 6)):
        cache = {"limit": 2, "evict": evict, "dtype": "int8"}
        one = example("linear", "grm", "checkpoint", cache=cache, sizes=SIZES._replace(T=12))
        memory, dy = silent_memory(one), device(one.dy)
        inputs = {name: device(x) for name, x in one.inputs.items()}
        for _ in range(2):
            traffic.reset()
            _, first = memory.forward(inputs)
            _, second = memory.forward(inputs, first.end)
            gradients = memory.backward(second, dy)
            memory.backward(first, dy, gradients["state"])
        assert (traffic.up, traffic.down) == (0, waits), evict


def test_arrays_come_in_from_anywhere_and_go_out_by_dlpack() -> None:
    one = example("gated_delta", "grm", "checkpoint")
    memory = on_gpu(one)
    wanted, saved = memory.forward(one.inputs)
    there = {name: device(x) for name, x in one.inputs.items()}
    traffic.reset()
    assert memory.checked(there)["q"] is there["q"], "a device array was copied"
    exported = memory.checked({name: Foreign(x) for name, x in there.items()})
    assert exported["q"].host.ctypes.data == there["q"].host.ctypes.data, "DLPack was copied"
    assert traffic.down == traffic.up == 0
    lists, tensors = ({n: f(x) for n, x in one.inputs.items()} for f in (np.ndarray.tolist, OfCpu))
    for inputs in (there, lists, tensors):
        y, _ = memory.forward(inputs)
        assert (y.get() == wanted.get()).all()
    again = namespace.from_dlpack(Foreign(y))
    assert again.host.ctypes.data == y.host.ctypes.data
    gradients = memory.backward(saved, Foreign(device(one.dy)))
    assert isinstance(gradients["q"], DeviceArray)


def test_float32_and_bfloat16_of_the_host_are_converted_before_they_are_sent() -> None:
    one = example("gated_delta", "grm", "checkpoint")
    memory = on_gpu(one, "float32")
    y, _ = memory.forward(one.inputs)
    assert y.dtype == np.float32
    import ml_dtypes

    half = {name: x.astype(ml_dtypes.bfloat16) for name, x in one.inputs.items()}
    assert memory.forward(half)[0].dtype == np.float32


class OfCpu:
    """Another library's array on the host."""

    def __init__(self, x: np.ndarray[Any, Any]) -> None:
        self.__dlpack__, self.__dlpack_device__ = x.__dlpack__, x.__dlpack_device__


class Foreign:
    """Another library's array on the device: all that is known of it is that it speaks DLPack."""

    def __init__(self, x: DeviceArray) -> None:
        self._x = x

    def __dlpack__(self, **options: Any) -> Any:
        return self._x.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._x.__dlpack_device__()


def test_what_lies_on_a_device_is_refused_where_the_cpu_computes() -> None:
    one = example("gated_delta", "grm", "checkpoint")
    there = {name: device(x) for name, x in one.inputs.items()}
    with pytest.raises(InputError, match=r"q: is on device CUDA:0, .* cupy.asnumpy\(q\)"):
        by_reference(one).forward(there)
    _, saved = on_gpu(one).forward(there)
    with pytest.raises(InputError, match=r"state: lies on a device, .* state.on\(numpy\) would do"):
        by_reference(one).forward(one.inputs, saved.end)
    with pytest.raises(InputError, match="document: is on device CUDA:0"):
        on_gpu(one).forward(there, document=device(IDS[:, :5]))


def test_states_go_from_backend_to_backend() -> None:
    one = example("gated_delta", "grm", "checkpoint")
    gpu, reference = on_gpu(one), by_reference(one)
    first, second = one.pieces([4, 1])
    wanted, saved = reference.forward(second, reference.forward(first)[1].end)
    for state in (gpu.forward(first)[1].end, reference.forward(first)[1].end):
        here = host_state(state)
        assert isinstance(here.online, np.ndarray)
        y, end = gpu.step(second, here)
        np.testing.assert_allclose(y.get(), wanted, atol=1e-12)
        hold_state("end", end, saved.end)
        np.testing.assert_allclose(reference.step(second, here)[0], wanted, atol=1e-12)


def test_numbers_are_looked_at_on_the_host_alone() -> None:
    one = example("gated_delta", "grm", "checkpoint")
    wrong = one.inputs | {"log_decay": np.full_like(one.inputs["log_decay"], -np.inf)}
    with pytest.raises(InputError, match="log_decay: has -inf or NaN"):
        on_gpu(one).forward(wrong)
    there = {name: device(x) for name, x in wrong.items()}
    memory = silent_memory(one)
    traffic.reset()
    memory.checked(there)
    assert traffic.down == 0
