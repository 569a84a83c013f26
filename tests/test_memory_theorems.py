"""Theorems about memories, each by its name, for every installed backend.

The general ones are shipped in `mcore.testing.properties`; those about one rule are spelled out
here. `test_memory_theorems_every_rule.py` goes through all rules one by one,
`test_memory_theorems_attention.py` has those that make attention of a memory.
"""

import numpy as np
import pytest
from harness import BACKENDS, maker
from hypothesis import given
from hypothesis import strategies as st
from tolerances import tolerance

from mcore.axes import make_recurrence
from mcore.testing import properties
from mcore.testing.agreement import assert_agree, change, output, relative_error
from mcore.testing.samples import sample_inputs, sample_normal
from mcore.testing.strategies import (
    EVERY_READOUT,
    READOUTS,
    RECURRENCES,
    VARIANTS,
    Axis,
    Composition,
    Example,
    Sizes,
    examples,
    splits,
)

SAME = tolerance("float64", "same")
LINEAR_READS = tuple(rule for rule in RECURRENCES if make_recurrence(rule).linear_read)
MATRICES = tuple(rule for rule in RECURRENCES if make_recurrence(rule).family == "matrix")
SUMS: tuple[Axis, ...] = ("linear", {"kind": "linear", "feature_map": "elu1"})
LINEAR_READOUTS = tuple(readout for readout in EVERY_READOUT if readout != "sigmoid")
AVERAGES = (*LINEAR_READOUTS, *(r for r in VARIANTS if "outside" not in str(r)))
NORMALISED: Axis = {"kind": "linear", "feature_map": "elu1", "normalize": True}
LARGE_K: Axis = {"kind": "ssc", "top_k": 100}
ATTENTION: Composition = {
    "recurrence": "linear",
    "segmentation": {"kind": "constant", "length": 1},
    "readout": "grm",
    "start": "independent",
}
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@every_backend
@given(example=examples())
def test_one_segment_equals_base(backend: str, example: Example) -> None:
    properties.one_segment_equals_base(maker(backend), example, SAME)


@every_backend
@given(example=examples(recurrences=SUMS, readouts=["residual"], starts=["independent"]))
def test_residual_independent_additive_equals_linear_attention(
    backend: str, example: Example
) -> None:
    plain = change(change(example.composition, "segmentation", "none"), "readout", "none")
    want = output(maker(backend), plain, example.inputs)
    assert_agree(output(maker(backend), example.composition, example.inputs), want, SAME, "y")


@every_backend
@given(data=st.data(), example=examples(recurrences=["linear"], readouts=["residual"]))
def test_residual_checkpoint_weighs_segment_j_by_its_age(
    backend: str, data: st.DataObject, example: Example
) -> None:
    lengths = data.draw(splits(example.sizes.T))
    cuts: Axis = {"kind": "given", "lengths": lengths}
    composition = change(change(example.composition, "segmentation", cuts), "start", "checkpoint")
    owner = np.repeat(np.arange(len(lengths)), lengths)
    age = (owner[:, None] - owner[None, :] + 1) * np.tri(len(owner))
    q, k, v = (example.inputs[name] for name in "qkv")
    want = np.einsum("tj,bthk,bjhk,bjhv->bthv", age, q, k, v)
    assert_agree(output(maker(backend), composition, example.inputs), want, SAME, "y")


@every_backend
@given(example=examples(recurrences=LINEAR_READS, readouts=["grm"]))
def test_soup_equals_grm(backend: str, example: Example) -> None:
    properties.same_readout(maker(backend), example, "soup", SAME)


@every_backend
def test_soup_differs_from_grm_for_a_normalised_memory(backend: str) -> None:
    composition = change(change(ATTENTION, "recurrence", NORMALISED), "start", "checkpoint")
    inputs = sample_inputs(composition, Sizes(1, 6, 1, 3, 2), 0)
    grm = output(maker(backend), composition, inputs)
    soup = output(maker(backend), change(composition, "readout", "soup"), inputs)
    assert relative_error(soup, grm) > 1e-3


@every_backend
@given(example=examples(readouts=["grm"]))
def test_ssc_with_large_k_equals_grm(backend: str, example: Example) -> None:
    properties.same_readout(maker(backend), example, LARGE_K, SAME)


@every_backend
def test_ssc_gives_ties_to_the_lower_index(backend: str) -> None:
    """Equal contexts: top_k = 1 takes the oldest memory, at the gate of the online one."""
    composition = change(ATTENTION, "readout", {"kind": "ssc", "top_k": 1})
    inputs = {name: np.ones((1, 4, 1, 1)) for name in "qku"}
    inputs["v"] = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 4, 1, 1)
    y = output(maker(backend), composition, inputs)
    assert_agree(y.ravel(), np.array([1.0, 5.5, 50.5, 500.5]), SAME, "y")


@every_backend
@given(data=st.data(), example=examples())
def test_causality(backend: str, data: st.DataObject, example: Example) -> None:
    token = data.draw(st.integers(0, example.sizes.T))
    properties.causality(maker(backend), example, token)


@every_backend
@pytest.mark.parametrize(("tokens", "lengths"), [(37, [32, 4, 1]), (11, [8, 2, 1]), (8, [8])])
def test_logarithmic_cuts_are_the_binary_expansion(
    backend: str, tokens: int, lengths: list[int]
) -> None:
    composition = change(
        change(ATTENTION, "recurrence", "gated_delta"), "segmentation", "logarithmic"
    )
    inputs = sample_inputs(composition, Sizes(1, tokens, 1, 2, 2), 0)
    cuts: Axis = {"kind": "given", "lengths": lengths}
    want = output(maker(backend), change(composition, "segmentation", cuts), inputs)
    assert np.array_equal(output(maker(backend), composition, inputs), want)


@every_backend
@given(example=examples())
def test_backward_is_finite_difference(backend: str, example: Example) -> None:
    limit = tolerance("float64", "finite_difference")
    properties.backward_is_finite_difference(maker(backend), example, limit)


@every_backend
@given(example=examples(recurrences=[NORMALISED], readouts=AVERAGES))
def test_gates_sum_to_one(backend: str, example: Example) -> None:
    """Normalised reads of one constant value are that value; so is any mean of them by gates."""
    inputs = example.inputs | {"v": np.full_like(example.inputs["v"], 2.0)}
    y = output(maker(backend), example.composition, inputs)
    if example.composition["readout"] == "residual":
        y = y / np.round(y / 2.0)
    assert_agree(y, inputs["v"], 1e-3, "constant value")


@every_backend
@given(
    data=st.data(),
    example=examples(readouts=READOUTS[1:], starts=["independent"]),
)
def test_cached_segments_may_be_permuted(
    backend: str, data: st.DataObject, example: Example
) -> None:
    lengths = data.draw(splits(example.sizes.T))
    order = data.draw(st.permutations(range(len(lengths) - 1)))
    composition = change(example.composition, "segmentation", {"kind": "given", "lengths": lengths})
    moved = Example(composition, example.sizes, example.seed)
    properties.cached_segments_may_be_permuted(maker(backend), moved, order, SAME)


@every_backend
@given(example=examples())
def test_rows_and_heads_are_independent(backend: str, example: Example) -> None:
    properties.rows_and_heads_are_independent(maker(backend), example, SAME)


@every_backend
@given(example=examples(recurrences=MATRICES, readouts=(*LINEAR_READOUTS, *VARIANTS)))
def test_values_enter_linearly(backend: str, example: Example) -> None:
    properties.values_enter_linearly(maker(backend), example, SAME)


@every_backend
@given(example=examples(recurrences=["gated_linear"]))
def test_gated_linear_of_constant_decay_is_retention(backend: str, example: Example) -> None:
    rate = np.linspace(-0.3, -0.1, example.sizes.H)
    constant = np.broadcast_to(rate, example.inputs["log_decay"].shape)
    y = output(maker(backend), example.composition, example.inputs | {"log_decay": constant})
    retention = change(example.composition, "recurrence", "retention")
    want = output(maker(backend), retention, example.inputs | {"log_decay": rate})
    assert_agree(y, want, SAME, "y")


@every_backend
@pytest.mark.parametrize(
    ("decayed", "plain"), [("gated_linear", "linear"), ("gated_delta", "delta")]
)
@given(data=st.data())
def test_log_decay_zero_is_no_decay(
    backend: str, decayed: str, plain: str, data: st.DataObject
) -> None:
    example = data.draw(examples(recurrences=[decayed]))
    inputs = example.inputs | {"log_decay": np.zeros_like(example.inputs["log_decay"])}
    want = output(maker(backend), change(example.composition, "recurrence", plain), inputs)
    assert_agree(output(maker(backend), example.composition, inputs), want, SAME, "y")


@every_backend
@given(example=examples(recurrences=["gated_linear", "gated_delta"], readouts=["none"]))
def test_log_decay_minus_forty_forgets(backend: str, example: Example) -> None:
    """Only the token itself is left: y_t = beta (k . q) v."""
    inputs = example.inputs | {"log_decay": np.full_like(example.inputs["log_decay"], -40.0)}
    match = np.sum(inputs["q"] * inputs["k"], axis=-1) * inputs.get("beta", 1.0)
    y = output(maker(backend), example.composition, inputs)
    assert_agree(y, match[..., None] * inputs["v"], SAME, "y")


@every_backend
@given(example=examples(recurrences=["slstm"]))
def test_slstm_does_not_see_the_scale_of_its_input_gates(backend: str, example: Example) -> None:
    """Cell and normaliser grow alike, even by more than a number can hold."""
    x = example.inputs["x"].copy()
    x[..., : example.sizes.V] += 1000.0
    want = output(maker(backend), example.composition, example.inputs)
    y = output(maker(backend), example.composition, example.inputs | {"x": x})
    assert_agree(y, want, SAME, "y")


@every_backend
@given(example=examples())
def test_threads_change_nothing(backend: str, example: Example) -> None:
    makes = [maker(backend, threads=threads) for threads in (1, 2, None)]
    properties.threads_change_nothing(makes, example, SAME)


@every_backend
@given(example=examples())
def test_float32_is_near_float64(backend: str, example: Example) -> None:
    want = output(maker(backend), example.composition, example.inputs)
    y = output(maker(backend, "float32"), example.composition, example.inputs)
    assert y.dtype == np.float32
    assert_agree(y, want, tolerance("float32", "forward"), "y")


@every_backend
@given(example=examples())
def test_two_calls_give_the_same_bits(backend: str, example: Example) -> None:
    memory = maker(backend)(example.composition)
    (first, saved), (second, again) = (memory.forward(example.inputs) for _ in range(2))
    assert np.array_equal(first, second)
    gradients, repeated = memory.backward(saved, example.dy), memory.backward(again, example.dy)
    assert all(np.array_equal(gradients[name], repeated[name]) for name in example.inputs)
    once_more = memory.backward(saved, example.dy)
    assert all(np.array_equal(gradients[name], once_more[name]) for name in example.inputs)


@every_backend
def test_a_delta_memory_recalls_orthonormal_keys(backend: str) -> None:
    """With beta 1 the last token reads back each value written under an orthonormal key."""
    composition = change(change(ATTENTION, "recurrence", "delta"), "readout", "none")
    composition = change(composition, "segmentation", "none")
    basis = np.linalg.qr(sample_normal((4, 4), 0))[0].reshape(1, 4, 1, 4)
    v = sample_normal((1, 4, 1, 3), 1)
    keys = np.concatenate([basis, basis], axis=1)
    values = np.concatenate([v + 9.0, v], axis=1)
    inputs = {"q": np.roll(keys, 1, axis=1), "k": keys, "v": values, "beta": np.ones((1, 8, 1))}
    y = output(maker(backend), composition, inputs)
    assert_agree(y[:, 5:], v[:, :3], SAME, "recalled values")
