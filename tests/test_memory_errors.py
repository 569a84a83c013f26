"""What a user can get wrong with a memory, and what it says; odd but right arrays are accepted."""

from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, DTYPES, maker
from hypothesis import given
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.errors import McoreError, ShapeError, SpecError
from mcore.testing.agreement import Memory, assert_agree
from mcore.testing.samples import RULE_INPUTS
from mcore.testing.strategies import Axis, Composition, Example, Sizes, examples

every_backend = pytest.mark.parametrize("backend", BACKENDS)
SIZES = Sizes(B=2, T=5, H=2, K=3, V=4)
COMPOSITION: Composition = {
    "recurrence": "gated_delta",
    "segmentation": {"kind": "constant", "length": 2},
    "readout": "grm",
    "start": "independent",
}
EXAMPLE = Example(COMPOSITION, SIZES, seed=0)


def built(backend: str, **axes: Any) -> Memory:
    """The memory above with other axes; a wrong value goes through untyped."""
    return mcore.memory(**{**COMPOSITION, "dtype": "float64", "backend": backend, **axes})


def calls(memory: Memory) -> list[Any]:
    return [memory.forward, memory.step]


@every_backend
@pytest.mark.parametrize("letter", "BTHKV")
def test_an_empty_axis_is_refused(backend: str, letter: str) -> None:
    shapes = {name: axes.split() for name, axes in EXAMPLE.declared.items()}
    dims = SIZES._asdict() | {letter: 0}
    inputs = {name: np.zeros([dims[axis] for axis in axes]) for name, axes in shapes.items()}
    for call in calls(built(backend)):
        with pytest.raises(ShapeError, match=rf"\b{letter}\b"):
            call(inputs)


@every_backend
@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("beta", (2, 4, 2), "B T H"),
        ("beta", (2, 5, 2, 1), "B T H"),
        ("log_decay", (2,), "B T H"),
        ("v", (2, 5, 1, 4), "B T H V"),
        ("k", (2, 5, 2, 2), "B T H K"),
        ("u", (1, 5, 2, 3), "B T H K"),
        ("q", (10, 2, 3), "B T H K"),
    ],
)
def test_a_wrong_shape_names_the_input(
    backend: str, name: str, shape: tuple[int, ...], axes: str
) -> None:
    for call in calls(built(backend)):
        with pytest.raises(ShapeError) as error:
            call(EXAMPLE.inputs | {name: np.zeros(shape)})
        for part in (name, str(shape), axes):
            assert part in str(error.value)


@every_backend
def test_values_of_a_perceptron_are_as_wide_as_its_keys(backend: str) -> None:
    example = Example({**COMPOSITION, "recurrence": "dla"}, SIZES, seed=0)
    memory = built(backend, recurrence="dla")
    inputs = example.inputs | {
        "v": np.zeros((2, 5, 2, 4)),
        "w_out": np.zeros((*example.inputs["w_out"].shape[:2], 4)),
    }
    for call in calls(memory):
        with pytest.raises(ShapeError, match="V = K"):
            call(inputs)


@every_backend
def test_missing_and_extra_inputs_are_named(backend: str) -> None:
    without = {name: array for name, array in EXAMPLE.inputs.items() if name != "beta"}
    for call in calls(built(backend)):
        with pytest.raises(McoreError, match="beta"):
            call(without)
        with pytest.raises(McoreError, match="gate"):
            call(EXAMPLE.inputs | {"gate": EXAMPLE.inputs["beta"]})
    for readout in ("none", "residual", "moving_average"):
        with pytest.raises(McoreError, match="u "):
            built(backend, readout=readout).forward(EXAMPLE.inputs)


@every_backend
@pytest.mark.parametrize("recurrence", RULE_INPUTS)
@pytest.mark.parametrize("readout", ["none", "residual", "grm", "soup", "ssc", "moving_average"])
def test_declared_inputs(backend: str, recurrence: str, readout: str) -> None:
    memory: Any = built(backend, recurrence=recurrence, readout=readout)
    keyed = "x" not in RULE_INPUTS[recurrence]
    token = {"q": "B T H K", "k": "B T H K", "v": "B T H V"} if keyed else {}
    routing = {"k": "B T H K", "u": "B T H K"} if readout in ("grm", "soup", "ssc") else {}
    assert dict(memory.inputs) == token | RULE_INPUTS[recurrence] | routing


@every_backend
@pytest.mark.parametrize(
    ("axis", "wrong", "meant"),
    [
        ("recurrence", "gated_dleta", "gated_delta"),
        ("recurrence", {"kind": "retentoin"}, "retention"),
        ("readout", "residul", "residual"),
        ("segmentation", "constnt", "constant"),
        ("segmentation", {"kind": "logaritmic"}, "logarithmic"),
        ("start", "independant", "independent"),
        ("start", "checkpoints", "checkpoint"),
    ],
)
def test_a_wrong_kind_is_told_what_was_meant(
    backend: str, axis: str, wrong: Axis, meant: str
) -> None:
    with pytest.raises(SpecError) as error:
        built(backend, **{axis: wrong})
    assert axis in str(error.value)
    assert meant in str(error.value)


@every_backend
@pytest.mark.parametrize(
    ("axis", "wrong", "named"),
    [
        ("readout", {"kind": "grm", "top_k": 2}, "top_k"),
        ("readout", {"kind": "ssc", "topk": 2}, "top_k"),
        ("readout", {"kind": "ssc", "top_k": 0}, "top_k"),
        ("readout", {"kind": "ssc", "top_k": 1.5}, "top_k"),
        ("readout", {"kind": "ssc", "top_k": "2"}, "top_k"),
        ("readout", {"kind": "moving_average", "weights": "mean"}, "weights"),
        ("readout", {"kind": "moving_average", "weights": "ema", "rate": 2.0}, "rate"),
        ("readout", ["grm"], "readout"),
        ("segmentation", {"kind": "constant", "length": 0}, "length"),
        ("segmentation", {"kind": "constant", "length": -1}, "length"),
        ("segmentation", {"kind": "constant", "length": 2.5}, "length"),
        ("segmentation", {"kind": "constant", "length": "2"}, "length"),
        ("segmentation", {"kind": "none", "length": 2}, "length"),
        ("segmentation", {"kind": "given"}, "lengths"),
        ("segmentation", {"kind": "given", "lengths": []}, "lengths"),
        ("segmentation", {"kind": "given", "lengths": 5}, "lengths"),
        ("segmentation", {"kind": "given", "lengths": [5, 0]}, "lengths"),
        ("segmentation", {"kind": "given", "lengths": [2, 3.0]}, "lengths"),
        ("recurrence", {"kind": "linear", "normalise": True}, "normalise"),
        ("recurrence", {"kind": "linear", "feature_map": "relu"}, "feature_map"),
        ("recurrence", {"kind": "delta", "feature_map": "elu1"}, "feature_map"),
        ("recurrence", {"kind": "linear", "normalize": "no"}, "normalize"),
        ("recurrence", {"feature_map": "elu1"}, "kind"),
        ("recurrence", 3, "recurrence"),
        ("recurrence", None, "recurrence"),
        ("dtype", "float16", "dtype"),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(backend: str, axis: str, wrong: Any, named: str) -> None:
    with pytest.raises(SpecError, match=named):
        built(backend, **{axis: wrong})


def test_an_unknown_backend_says_what_is_installed() -> None:
    with pytest.raises(mcore.BackendError, match="reference"):
        built("nubma")


@every_backend
@pytest.mark.parametrize("recurrence", ["retention", "gated_linear", "gated_delta", "dla"])
@pytest.mark.parametrize("bad", [-np.inf, np.inf, np.nan])
def test_log_decay_must_be_finite(backend: str, recurrence: Axis, bad: float) -> None:
    example = Example({**COMPOSITION, "recurrence": recurrence}, SIZES, seed=0)
    log_decay = example.inputs["log_decay"].copy()
    log_decay.flat[-1] = bad
    memory = built(backend, recurrence=recurrence)
    for call in calls(memory):
        with pytest.raises(McoreError, match="log_decay"):
            call(example.inputs | {"log_decay": log_decay})


@every_backend
def test_logarithmic_does_not_stream(backend: str) -> None:
    memory = built(backend, segmentation="logarithmic")
    with pytest.raises(SpecError, match="logarithmic"):
        memory.step(EXAMPLE.inputs)
    _, saved = memory.forward(EXAMPLE.inputs)
    with pytest.raises(SpecError, match="logarithmic"):
        memory.forward(EXAMPLE.inputs, saved.end)


@every_backend
@pytest.mark.parametrize(
    "lengths", [[2, 2], [2, 4], [[2, 3], [2, 2]], [[5], [5], [5]], [[5], [2, 3], [1, 1, 3]]]
)
def test_given_lengths_must_fit_the_rows(backend: str, lengths: Any) -> None:
    """Each list sums to T = 5, and there is one for all rows or one for each of the two."""
    with pytest.raises(McoreError, match="lengths"):
        built(backend, segmentation={"kind": "given", "lengths": lengths}).forward(EXAMPLE.inputs)


@every_backend
def test_a_state_must_fit(backend: str) -> None:
    """Of another batch, number of heads, or kind of memory: an error, not a wrong answer."""
    memory = built(backend)
    _, state = memory.step(EXAMPLE.inputs)
    one_row = {name: array[:1] for name, array in EXAMPLE.inputs.items()}
    one_head = {name: array[:, :, :1] for name, array in EXAMPLE.inputs.items()}
    for inputs in (one_row, one_head):
        for call in calls(memory):
            with pytest.raises(McoreError, match="state"):
                call(inputs, state)
    other = Example({**COMPOSITION, "recurrence": "linear", "readout": "none"}, SIZES, seed=0)
    for call in calls(maker(backend)(other.composition)):
        with pytest.raises(McoreError, match="state"):
            call(other.inputs, state)


@every_backend
def test_dy_must_have_the_shape_of_y(backend: str) -> None:
    memory = built(backend)
    _, saved = memory.forward(EXAMPLE.inputs)
    with pytest.raises(ShapeError, match="dy"):
        memory.backward(saved, EXAMPLE.dy[..., :1])


@every_backend
@pytest.mark.parametrize("bad", ["abc", np.zeros((2, 5, 2, 3)) * 1j])
def test_what_is_no_array_of_real_numbers_is_refused(backend: str, bad: Any) -> None:
    with pytest.raises(McoreError, match="q"):
        built(backend).forward(EXAMPLE.inputs | {"q": bad})


def strided(array: Array) -> Array:
    """The same numbers, neither C- nor Fortran-contiguous, stored backwards."""
    padded = np.full([2 * size for size in array.shape], np.nan)
    view = padded[tuple(slice(None, None, -2) for _ in array.shape)]
    view[...] = array
    return view


def read_only(array: Array) -> Array:
    locked = array.copy()
    locked.flags.writeable = False
    return locked


def fortran(array: Array) -> Array:
    return np.asfortranarray(array)


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("made", [strided, read_only, fortran])
@given(example=examples())
def test_any_layout_will_do(backend: str, dtype: str, made: Any, example: Example) -> None:
    memory = maker(backend, dtype)(example.composition)
    y, saved = memory.forward(example.inputs)
    gradients = memory.backward(saved, example.dy)
    odd = {name: made(array) for name, array in example.inputs.items()}
    got, odd_saved = memory.forward(odd)
    assert_agree(got, y, tolerance(dtype, "same"), "y")
    again = memory.backward(odd_saved, made(example.dy))
    for name in example.inputs:
        assert_agree(again[name], gradients[name], tolerance(dtype, "same"), name)


@every_backend
@given(example=examples())
def test_inputs_are_not_modified(backend: str, example: Example) -> None:
    memory = maker(backend)(example.composition)
    before = {name: array.copy() for name, array in example.inputs.items()}
    dy = example.dy.copy()
    _, saved = memory.forward(example.inputs)
    first = memory.backward(saved, dy)
    kept = {name: first[name].copy() for name in before}
    memory.backward(saved, 2.0 * dy)
    assert all(np.array_equal(example.inputs[name], before[name]) for name in before)
    assert np.array_equal(dy, example.dy)
    assert all(np.array_equal(first[name], kept[name]) for name in before)


@every_backend
@given(example=examples())
def test_results_do_not_alias_inputs(backend: str, example: Example) -> None:
    memory = maker(backend)(example.composition)
    y, saved = memory.forward(example.inputs)
    results = [y, *(memory.backward(saved, example.dy)[name] for name in example.inputs)]
    for given_array in (*example.inputs.values(), example.dy):
        assert not any(np.shares_memory(result, given_array) for result in results)


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
@given(example=examples())
def test_other_number_types_are_converted(backend: str, dtype: str, example: Example) -> None:
    """All samples fit in float32, so either width of input must give the same bits."""
    memory = maker(backend, dtype)(example.composition)
    narrow = {name: array.astype(np.float32) for name, array in example.inputs.items()}
    (y, saved), (want, _) = memory.forward(narrow), memory.forward(example.inputs)
    assert y.dtype == dtype
    assert np.array_equal(y, want)
    gradients = memory.backward(saved, example.dy.astype(np.float32))
    assert {gradients[name].dtype for name in narrow} == {np.dtype(dtype)}
    name = "v" if "v" in example.inputs else "x"
    whole = example.inputs | {name: np.round(3 * example.inputs[name])}
    integers = whole | {name: whole[name].astype(np.int32)}
    assert_agree(memory.forward(integers)[0], memory.forward(whole)[0], 0.0, "integers")
