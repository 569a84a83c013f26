"""The theorems that hold whatever the recurrence, for each of them by name.

`test_memory_theorems.py` draws compositions at random; here no rule, readout or start is left to
chance.
"""

from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, maker
from tolerances import tolerance

from mcore.arrays import Array
from mcore.axes import make_recurrence
from mcore.testing import properties, streaming
from mcore.testing.agreement import answer, assert_agree, change, output, relative_error
from mcore.testing.samples import sample_inputs
from mcore.testing.strategies import (
    EVERY_READOUT,
    READOUTS,
    RECURRENCES,
    STARTS,
    Axis,
    Composition,
    Example,
    Sizes,
)

SAME = tolerance("float64", "same")
SIZES = Sizes(B=2, T=9, H=2, K=3, V=4)
CUTS: Axis = {"kind": "given", "lengths": [[3, 1, 4, 1], [2, 2, 5]]}
STREAMED: Axis = {"kind": "constant", "length": 3}
EVERYTHING: Axis = {"kind": "ssc", "top_k": 100}
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_rule = pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
every_start = pytest.mark.parametrize("start", STARTS)


def example_of(recurrence: Axis, readout: Axis, start: str, cuts: Axis = CUTS) -> Example:
    composition: Composition = {
        "recurrence": recurrence, "segmentation": cuts, "readout": readout, "start": start,
    }  # fmt: skip
    return Example(composition, SIZES, seed=5)


@every_backend
@every_rule
def test_one_segment_equals_base_for_every_aggregator(backend: str, recurrence: Axis) -> None:
    for readout in EVERY_READOUT:
        example = example_of(recurrence, readout, "independent", "none")
        properties.one_segment_equals_base(maker(backend), example, SAME)


@every_backend
@every_rule
@every_start
def test_ssc_with_k_of_all_segments_equals_grm(backend: str, recurrence: Axis, start: str) -> None:
    example = example_of(recurrence, "grm", start)
    properties.same_readout(maker(backend), example, EVERYTHING, SAME)


@every_backend
@every_rule
@every_start
def test_soup_equals_grm_exactly_where_the_read_is_linear(
    backend: str, recurrence: Axis, start: str
) -> None:
    """For sums of matrices and for vectors; not for perceptrons nor normalised reads (1.5)."""
    example = example_of(recurrence, "grm", start)
    if make_recurrence(recurrence).linear_read:
        return properties.same_readout(maker(backend), example, "soup", SAME)
    grm = output(maker(backend), example.composition, example.inputs)
    soup = output(maker(backend), change(example.composition, "readout", "soup"), example.inputs)
    assert relative_error(soup, grm) > 1e-6
    return None


@every_backend
@every_rule
@every_start
def test_changing_a_token_changes_no_earlier_answer(
    backend: str, recurrence: Axis, start: str
) -> None:
    for readout in EVERY_READOUT:
        example = example_of(recurrence, readout, start)
        for token in (1, 4, 8):
            properties.causality(maker(backend), example, token)


@every_backend
@every_rule
@every_start
def test_steps_equal_forward(backend: str, recurrence: Axis, start: str) -> None:
    for readout in READOUTS:
        example = example_of(recurrence, readout, start, STREAMED)
        streaming.stream_equals_batch(maker(backend), example, [1] * SIZES.T, SAME)


@every_backend
@every_rule
@every_start
def test_a_query_that_cannot_choose_takes_the_mean(
    backend: str, recurrence: Axis, start: str
) -> None:
    """With u = 0 every gate of GRM is one over the number of memories (1.4)."""
    example = example_of(recurrence, "grm", start)
    inputs = example.inputs | {"u": np.zeros_like(example.inputs["u"])}
    grm = output(maker(backend), example.composition, inputs)
    mean = change(example.composition, "readout", "moving_average")
    assert_agree(grm, output(maker(backend), mean, inputs), SAME, "y")


@pytest.mark.parametrize("backend", sorted({*BACKENDS} - {"reference"}))
@every_rule
@every_start
def test_every_backend_gives_the_answers_of_the_reference(
    backend: str, recurrence: Axis, start: str
) -> None:
    """y and all gradients, over several blocks of a kernel, ragged ends and odd widths."""
    cuts: Axis = {"kind": "constant", "length": 70}
    composition = example_of(recurrence, "grm", start, cuts).composition
    example = Example(composition, Sizes(B=1, T=150, H=1, K=5, V=7), seed=1)
    want = answer(maker("reference")(composition), example)
    for name, array in answer(maker(backend)(composition), example).items():
        assert_agree(array, want[name], tolerance("float64", "backward"), name)


@every_backend
@every_start
def test_chunks_of_one_token_are_the_token_rule(backend: str, start: str) -> None:
    """Chunks are counted from a segment's start, so in segments of one token every chunk has one
    token: each gradient is taken at the memory just before it, however long chunks may be."""
    for choice in RECURRENCES:
        if isinstance(choice, str) or choice.get("chunk", 1) == 1:
            continue
        example = example_of(choice, "residual", start, {"kind": "constant", "length": 1})
        exact = change(example.composition, "recurrence", choice | {"chunk": 1})
        want = output(maker(backend), exact, example.inputs)
        assert_agree(
            output(maker(backend), example.composition, example.inputs), want, SAME, str(choice)
        )


@every_backend
def test_checkpoints_of_a_sum_weigh_a_segment_by_the_gates_from_it_on(backend: str) -> None:
    """A checkpoint holds all text before it: segment j counts with sum_{i >= j} g_i, the first
    one always with 1, and no gate can favour a newer segment over an older one (1.4)."""
    lengths = [3, 1, 4, 2]
    cuts: Axis = {"kind": "given", "lengths": lengths}
    composition = example_of("linear", "grm", "checkpoint", cuts).composition
    inputs = sample_inputs(composition, Sizes(2, sum(lengths), 2, 3, 4), 0)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    gates = softmax_gates(inputs, owner)
    weight = np.flip(np.cumsum(np.flip(gates, -1), axis=-1), -1)
    assert_agree(weight[..., 0], np.ones(weight.shape[:-1]), 1e-12, "the oldest segment's weight")
    pairs = np.einsum("bthk,bjhk->bthj", inputs["q"], inputs["k"]) * weight[..., owner]
    pairs = pairs * np.tri(len(owner))[:, None, :]
    want = np.einsum("bthj,bjhv->bthv", pairs, inputs["v"])
    assert_agree(output(maker(backend), composition, inputs), want, SAME, "y")


def softmax_gates(inputs: dict[str, Array], owner: Array) -> Array:
    """(B, T, H, S): over the segments that a token sees, its own by the mean of its keys so far."""
    u, k = inputs["u"], inputs["k"]
    tokens = np.arange(len(owner))
    member = (owner[None, :] == np.arange(owner[-1] + 1)[:, None])[None] * np.tri(len(owner))[
        tokens
    ][:, None, :]
    count = member.sum(axis=-1)
    contexts = np.einsum("tsj,bjhk->bthsk", member / np.maximum(count, 1)[..., None], k)
    logits: Any = np.einsum("bthk,bthsk->bths", u, contexts) / np.sqrt(k.shape[-1])
    weights = np.exp(logits) * (count > 0)[:, None, :]
    gates: Array = weights / weights.sum(axis=-1, keepdims=True)
    return gates


@every_backend
def test_mlstm_answers_do_not_depend_on_its_running_maximum(backend: str) -> None:
    """m keeps the numbers in range and cancels: with F the running sum of log sigmoid(f~),
    y_t = sum_j w_tj (k_j . q_t) v_j / max(|sum_j w_tj (k_j . q_t)|, 1) where
    w_tj = exp(F_t - F_j + i~_j) / sqrt(K), but for the eps of the denominator (2.11)."""
    composition = example_of("mlstm", "none", "independent", "none").composition
    inputs = sample_inputs(composition, Sizes(2, 9, 2, 3, 4), 0)
    inputs["igate"] += 4.0
    kept = -np.logaddexp(0.0, -inputs["fgate"]).cumsum(axis=1)
    power = kept[:, :, None] - kept[:, None] + inputs["igate"][:, None]
    causal = np.tri(9)[None, :, :, None]
    match = np.einsum("bthk,bjhk->btjh", inputs["q"], inputs["k"]) / np.sqrt(3.0)
    weight = np.exp(np.where(causal > 0, power, -np.inf)) * match
    largest = np.maximum(np.where(causal > 0, power, -np.inf).max(axis=2), kept)
    below = np.maximum(np.abs(weight.sum(axis=2)), 1.0) + 1e-6 * np.exp(largest)
    want = np.einsum("btjh,bjhv->bthv", weight, inputs["v"]) / below[..., None]
    assert_agree(output(maker(backend), composition, inputs), want, SAME, "y")
