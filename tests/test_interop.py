"""What mcore inside other libraries stands on, without them: mapped axes, states of fixed shape."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mcore
from mcore.arrays import Array
from mcore.interop.host_memory import HostMemory
from mcore.interop.mapped import Arrays, Folding, over_mapped
from mcore.interop.parameters import start_parameters
from mcore.interop.state import State, empty, pack, slots_needed, unpack
from mcore.testing.agreement import assert_agree
from mcore.testing.strategies import RECURRENCES, Example, Sizes, examples

CACHES: list[dict[str, Any]] = [
    {},
    {"limit": 2},
    {"limit": 2, "evict": "merge", "dtype": "int8"},
    {"dtype": "bfloat16"},
    {"dtype": "float16"},
]


CLOSE = 1e-10
RULES_WITH_PARAMETERS = ("retention", "gru", "dla", "gated_delta", "slstm", "titans")


def scaled(arrays: Arrays) -> Arrays:
    """x (B, 3) times w (3)."""
    assert arrays["x"].ndim == 2
    return {"y": arrays["x"] * arrays["w"]}


@pytest.mark.parametrize("fronts", [((4,), (1,)), ((4,), (4,)), ((1,), (4,)), ((1, 5), (4, 1))])
@pytest.mark.parametrize(
    "folding",
    [
        [Folding({"x": 0, "y": 0}, frozenset({"w"}))],
        [Folding({"x": 1, "y": 1, "w": 0}, frozenset())],
        [],
    ],
)
def test_mapped_axes_are_those_of_broadcasting(fronts: Any, folding: list[Folding]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((*fronts[0], 2, 3))
    w = rng.standard_normal((*fronts[1], 3))
    found = over_mapped(scaled, {"x": x, "w": w}, {"x": 2, "w": 1}, folding)["y"]
    np.testing.assert_array_equal(found, x * w[..., None, :])


@given(example=examples(recurrences=RULES_WITH_PARAMETERS), data=st.data())
def test_any_inputs_of_a_memory_may_be_mapped(example: Example, data: st.DataObject) -> None:
    memory = mcore.memory(**example.composition, backend="reference", dtype="float64")
    names = sorted(example.inputs)
    mapped = data.draw(st.sets(st.sampled_from(names), min_size=1))
    arrays = {
        n: np.stack([x, 0.9 * x]) if n in mapped else x[None] for n, x in example.inputs.items()
    }
    places = [{n: x[min(i, len(x) - 1)] for n, x in arrays.items()} for i in range(2)]
    arrays["dy"] = np.stack([example.dy, -example.dy])
    found = HostMemory(memory).backward(arrays)
    y = HostMemory(memory).forward({n: arrays[n] for n in names})["y"]
    for i, place in enumerate(places):
        wanted, saved = memory.forward(place)
        assert_agree(y[i], wanted, CLOSE, "y")
        for name, gradient in memory.backward(saved, arrays["dy"][i]).items():
            assert_agree(found[name][i], gradient, CLOSE, name)


SEVERAL = {"segmentation": {"kind": "constant", "length": 3}, "readout": "grm"}


@pytest.mark.parametrize(
    ("axes", "mapped", "forward", "backward"),
    [
        ({"recurrence": "delta"}, "qkv", [(6, 2)], [(6, 2)]),
        ({"recurrence": "dla"}, "qkv", [(6, 2)], [(2, 6)]),
        ({"recurrence": "dla"}, ["w_in", "q"], [(2, 6)], [(2, 6)]),
        ({"segmentation": {"kind": "given", "lengths": [[8], [3, 5]]}}, "q", [(2, 6)], [(2, 6)]),
        (
            {"recurrence": "retention", "segmentation": {"kind": "adaptive", "min": 2, "max": 5}},
            "qkv",
            [(6, 2)],
            [(2, 2)] * 3,
        ),
        (
            {"recurrence": "dla", "readout": {"kind": "ssc", "top_k": 1, "router": "random"}},
            ["w_in"],
            [(2, 2)] * 3,
            [(2, 2)] * 3,
        ),
    ],
)
def test_rows_and_heads_of_the_calls(
    axes: Any, mapped: Any, forward: Any, backward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B and H of every forward that three places take."""
    composition: Any = {"recurrence": "linear", **SEVERAL, **axes}
    memory = mcore.memory(**composition, backend="reference", dtype="float64")
    example = Example(composition, Sizes(2, 8, 2, 3, 3), 0)
    arrays = {n: np.stack([x] * 3) if n in mapped else x[None] for n, x in example.inputs.items()}
    run, calls = memory.forward, list[tuple[int, ...]]()

    def spy(inputs: Arrays, state: Any = None, *, document: Any = None) -> Any:
        calls.append(inputs["q"].shape[::2][:2])
        return run(inputs, state, document=document)

    monkeypatch.setattr(memory, "forward", spy)
    HostMemory(memory).forward(arrays)
    assert calls == forward
    calls.clear()
    HostMemory(memory).backward(arrays | {"dy": np.stack([example.dy] * 3)})
    assert calls == backward


def states(state: Any) -> dict[str, Array]:
    return {name: x for name, x in vars(state).items() if isinstance(x, np.ndarray)}


@pytest.mark.parametrize("cache", CACHES, ids=str)
@given(example=examples(streamable=True))
def test_a_packed_state_is_the_state(cache: dict[str, Any], example: Example) -> None:
    composition: Any = {**example.composition, "cache": cache}
    memory = mcore.memory(**composition, backend="reference", dtype="float64")
    _, state = memory.step(example.inputs)
    dims = memory.rule.dims(example.inputs)
    slots = slots_needed(memory, dims.B, dims.T)
    packed = pack(state, slots, "float64")
    fresh = empty(memory, dims, slots)
    assert [(x.shape, x.dtype) for x in packed] == [(x.shape, x.dtype) for x in fresh]
    again = states(unpack(memory, packed, dims))
    for name, x in states(state).items():
        np.testing.assert_allclose(again[name], x, rtol=1e-6, err_msg=name)
        assert again[name].dtype == x.dtype


def test_a_full_state_says_so() -> None:
    memory = mcore.memory("linear", {"kind": "constant", "length": 2}, "residual", backend="numba")
    x = {name: np.ones((1, 6, 1, 2), np.float32) for name in "qkv"}
    _, state = memory.step(x)
    with pytest.raises(mcore.InputError, match=r"3 checkpoints, but .* room for 2"):
        pack(state, 2, "float32")


@pytest.mark.parametrize(
    ("axes", "tokens", "slots"),
    [
        ({"segmentation": "none"}, None, 0),
        ({"readout": "none"}, None, 0),
        ({"cache": {"limit": 5}}, None, 5),
        ({"cache": {"limit": 5}}, 8, 2),
        ({}, 9, 3),
        ({"segmentation": {"kind": "adaptive", "min": 2, "max": 9}}, 9, 4),
        ({"segmentation": {"kind": "given", "lengths": [[4, 5], [1, 8]]}}, 9, 2),
    ],
)
def test_room_that_a_stream_needs(axes: dict[str, Any], tokens: int | None, slots: int) -> None:
    usual: dict[str, Any] = {"segmentation": {"kind": "constant", "length": 3}, "readout": "grm"}
    assert slots_needed(mcore.memory("linear", **(usual | axes)), 2, tokens) == slots


def test_gradients_of_a_stream_come_through_packed_states() -> None:
    """By hand what JAX and PyTorch do: forward through two steps, and back."""
    composition: Any = {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 3},
        "readout": "grm",
        "start": "checkpoint",
    }
    example = Example(composition, Sizes(2, 8, 2, 3, 3), 0)
    memory = mcore.memory(**composition, backend="reference", dtype="float64")
    host, (first, second) = HostMemory(memory), example.pieces([4, 4])
    start = empty(memory, memory.rule.dims(first), 2)
    middle = host.forward(first | named("state", start))
    state = State(*(middle[f"end.{name}"] for name in State._fields))
    last = host.forward(second | named("state", state))
    y, saved = memory.forward(example.inputs)
    np.testing.assert_allclose(np.concatenate([middle["y"], last["y"]], 1), y, atol=1e-10)
    dy = {"dy": example.dy[:, 4:]}
    zero = {f"end.{name}": np.zeros_like(x) for name, x in zip(State._fields, state, strict=True)}
    after = host.backward(second | named("state", state) | zero | dy)
    carried = {name.replace("state", "end"): after[name] for name in after if "." in name}
    dy = {"dy": example.dy[:, :4]}
    before = host.backward(first | named("state", start) | carried | dy)
    for name, wanted in memory.backward(saved, example.dy).items():
        found = np.concatenate([before[name], after[name]], axis=1)
        np.testing.assert_allclose(found, wanted, atol=1e-10, err_msg=name)


def named(part: str, state: State) -> dict[str, Any]:
    return {f"{part}.{name}": x for name, x in state._asdict().items()}


@given(recurrence=st.sampled_from(RECURRENCES))
def test_starting_parameters_fit(recurrence: Any) -> None:
    composition: Any = {"recurrence": recurrence, "segmentation": "none", "readout": "sigmoid"}
    memory = mcore.memory(**composition, backend="reference")
    example = Example(composition, Sizes(1, 3, 2, 4, 4), 0)
    held = start_parameters(memory, 2, 4, 4)
    given_ = {n: x for n, x in example.inputs.items() if "T" in memory.inputs[n].split()}
    y, _ = memory.forward(given_ | held)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("library", ["jax", "torch"])
def test_what_is_not_installed_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith(f"mcore.interop.{library}"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(mcore.BackendError, match=rf'pip install "mcore\[{library}\]"'):
        __import__(f"mcore.interop.{library}")
