"""The oracle is itself held against another method, its own finite differences and the theorems."""

from typing import Any

import numpy as np
import pytest

from mcore.testing.samples import sample_inputs, sample_normal
from mcore.testing.strategies import RECURRENCES, STARTS, Axis, Composition, Sizes
from oracle import (
    attention_gradients,
    attention_oracle,
    has_attention_form,
    oracle,
    oracle_gradients,
    segment_lengths,
    selection_gap,
)

SIZES = Sizes(B=1, T=7, H=2, K=3, V=2)
PAIR = Sizes(B=2, T=7, H=1, K=3, V=2)
GIVEN: Axis = {"kind": "given", "lengths": [[3, 1, 3], [2, 5]]}
CONSTANT: Axis = {"kind": "constant", "length": 3}
EVERY_READOUT: tuple[Axis, ...] = (
    "none",
    "residual",
    "grm",
    "soup",
    {"kind": "ssc", "top_k": 1},
    "moving_average",
)


def composed(
    recurrence: Axis, readout: Axis, start: str = "independent", segmentation: Axis = CONSTANT
) -> Composition:
    return {
        "recurrence": recurrence,
        "segmentation": segmentation,
        "readout": readout,
        "start": start,
    }


def differ(got: Any, want: Any) -> float:
    return float(np.max(np.abs(got - want)) / max(np.max(np.abs(want)), 1e-30))


@pytest.mark.parametrize("readout", ["none", "residual", "grm", "moving_average"])
@pytest.mark.parametrize(
    "recurrence", [r for r in RECURRENCES if has_attention_form(composed(r, "none"))], ids=str
)
def test_token_form_is_attention_form(recurrence: Axis, readout: Axis) -> None:
    composition = composed(recurrence, readout, segmentation=GIVEN)
    inputs, dy = sample_inputs(composition, PAIR, 1), sample_normal((2, 7, 1, 2), 2)
    assert differ(attention_oracle(inputs, composition), oracle(inputs, composition)) < 1e-12
    gradients = oracle_gradients(inputs, composition, dy)
    for name, gradient in attention_gradients(inputs, composition, dy).items():
        assert differ(gradient, gradients[name]) < 1e-11, name


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("readout", EVERY_READOUT, ids=str)
@pytest.mark.parametrize("recurrence", [RECURRENCES[2], "retention", "gated_delta"], ids=str)
def test_gradients_are_finite_differences(recurrence: Axis, readout: Axis, start: str) -> None:
    composition = composed(recurrence, readout, start)
    inputs, dy = sample_inputs(composition, SIZES, 3), sample_normal((1, 7, 2, 2), 4)
    gradients = oracle_gradients(inputs, composition, dy)
    for name, array in inputs.items():
        direction = sample_normal(array.shape, 5)
        slopes = [
            np.sum(oracle(inputs | {name: array + step * direction}, composition) * dy)
            for step in (1e-5, -1e-5)
        ]
        slope = (slopes[0] - slopes[1]) / 2e-5
        assert abs(slope - np.sum(gradients[name] * direction)) < 1e-6 * max(1, abs(slope)), name


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("recurrence", ["linear", "retention", "delta", "gated_delta"])
def test_soup_is_grm_where_the_read_is_linear(recurrence: Axis, start: str) -> None:
    composition = composed(recurrence, "soup", start)
    inputs = sample_inputs(composition, SIZES, 6)
    grm = oracle(inputs, composed(recurrence, "grm", start))
    assert differ(oracle(inputs, composition), grm) < 1e-13


def test_ssc_of_everything_is_grm() -> None:
    composition = composed("gated_delta", {"kind": "ssc", "top_k": 2})
    inputs = sample_inputs(composition, SIZES, 7)
    grm = oracle(inputs, composed("gated_delta", "grm"))
    assert differ(oracle(inputs, composition), grm) < 1e-13
    assert selection_gap(inputs, composition) == np.inf
    assert selection_gap(inputs, composed("gated_delta", {"kind": "ssc", "top_k": 1})) < np.inf


def test_ssc_samples_are_clear_of_ties() -> None:
    composition = composed("gated_delta", {"kind": "ssc", "top_k": 1})
    gaps = [
        selection_gap(sample_inputs(composition, SIZES, seed), composition) for seed in range(9)
    ]
    assert min(gaps) > 1e-3


def test_ties_go_to_the_lower_index() -> None:
    composition = composed("linear", {"kind": "ssc", "top_k": 1}, segmentation="none")
    composition["segmentation"] = {"kind": "constant", "length": 1}
    inputs = {name: np.ones((1, 3, 1, 1)) for name in "qku"}
    inputs["v"] = np.array([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    assert np.allclose(oracle(inputs, composition)[0, 2, 0, 0], (1.0 + 100.0) / 2)


def test_segment_lengths() -> None:
    assert segment_lengths({"kind": "logarithmic"}, 37, 0) == [32, 4, 1]
    assert segment_lengths({"kind": "logarithmic"}, 64, 0) == [64]
    assert segment_lengths({"kind": "constant", "length": 4}, 11, 0) == [4, 4, 3]
    assert segment_lengths({"kind": "constant", "length": 4}, 8, 0) == [4, 4]
    assert segment_lengths({"kind": "given", "lengths": [[3, 1], [4]]}, 4, 1) == [4]
    assert segment_lengths({"kind": "none"}, 5, 0) == [5]


def test_a_hand_computed_case() -> None:
    """Two segments of one token, one channel: y_2 = g_1 k_1 q v_1 + g_2 k_2 q v_2."""
    composition = composed("linear", "grm", segmentation={"kind": "constant", "length": 1})
    values = {"q": [1.0, 2.0], "k": [3.0, 5.0], "v": [7.0, 11.0], "u": [0.0, 0.5]}
    inputs = {name: np.array(value).reshape(1, 2, 1, 1) for name, value in values.items()}
    gate = 1 / (1 + np.exp(0.5 * (3.0 - 5.0)))
    want = [1.0 * 3.0 * 7.0, 2.0 * ((1 - gate) * 3.0 * 7.0 + gate * 5.0 * 11.0)]
    assert np.allclose(oracle(inputs, composition)[0, :, 0, 0], want, rtol=1e-14)
