"""Cuts placed by content: where they lie, that the past alone decides, and that a stream agrees."""

from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, maker
from hypothesis import given
from hypothesis import strategies as st
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.errors import SpecError
from mcore.testing import packing, properties, streaming
from mcore.testing.agreement import assert_agree
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import STARTS, Axis, Example, Sizes, splits

SAME = tolerance("float64", "same")
SIZES = Sizes(B=2, T=19, H=2, K=3, V=3)
DRIFT: Axis = {"kind": "adaptive", "rule": "drift", "threshold": 0.7, "min": 2, "max": 6}
SURPRISE: Axis = {"kind": "adaptive", "rule": "surprise", "threshold": 0.75, "min": 2, "max": 6}
RULES: tuple[tuple[Axis, Axis], ...] = (
    ("linear", DRIFT),
    ("mlstm", DRIFT),
    ("delta", SURPRISE),
    ("gated_delta", SURPRISE),
    ({"kind": "titans", "chunk": 2}, SURPRISE),
    ({"kind": "titans", "chunk": 2}, DRIFT),
)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """Content-based cuts with all that they may be combined with."""
    recurrence, segmentation = draw(st.sampled_from(RULES))
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": segmentation,
        "readout": draw(st.sampled_from(["residual", "grm", "soup"])),
        "start": draw(st.sampled_from(STARTS)),
    }
    return Example(composition, SIZES, draw(st.integers(0, 2**16)))


def same_cuts_given(example: Example, lengths: list[list[int]]) -> Example:
    """The example with the cuts that were found listed as such."""
    cuts: Axis = {"kind": "given", "lengths": lengths}
    changed: Any = {**example.composition, "segmentation": cuts}
    given = Example(changed, example.sizes, example.seed)
    given.__dict__["inputs"] = example.inputs
    return given


@every_backend
@given(example=examples())
def test_once_placed_they_are_cuts_like_any(backend: str, example: Example) -> None:
    memory = maker(backend)(example.composition)
    y, saved = memory.forward(example.inputs)
    gradients = memory.backward(saved, example.dy)
    listed = same_cuts_given(example, saved.lengths)
    same = maker(backend)(listed.composition)
    want, kept = same.forward(example.inputs)
    assert_agree(y, want, SAME, "y")
    for name, gradient in same.backward(kept, example.dy).items():
        assert_agree(gradients[name], gradient, SAME, name)


@every_backend
@given(example=examples(), token=st.integers(0, 9))
def test_no_answer_sees_the_future(backend: str, example: Example, token: int) -> None:
    """Short, since titans diverges on long runs of tokens that are drawn without care."""
    short = Example(example.composition, SIZES._replace(T=10), example.seed)
    properties.causality(maker(backend), short, token)


@every_backend
@pytest.mark.parametrize("tokens", [1, 2, 3])
@given(example=examples())
def test_short_sequences(backend: str, tokens: int, example: Example) -> None:
    short = Example(example.composition, SIZES._replace(T=tokens), example.seed)
    streaming.stream_equals_batch(maker(backend), short, [1] * tokens, SAME)
    streaming.chained_backward_equals_whole(maker(backend), short, [1] * tokens, 1e-9)


@every_backend
@given(data=st.data(), example=examples())
def test_a_stream_finds_the_same_cuts(backend: str, data: st.DataObject, example: Example) -> None:
    split = data.draw(splits(example.sizes.T))
    streaming.stream_equals_batch(maker(backend), example, split, SAME)
    streaming.chained_backward_equals_whole(maker(backend), example, split, 1e-9)


@every_backend
@given(data=st.data(), example=examples())
def test_documents_are_cut_as_if_alone(backend: str, data: st.DataObject, example: Example) -> None:
    lengths = [data.draw(splits(example.sizes.T)) for _ in range(example.sizes.B)]
    document = np.stack([np.repeat(np.arange(len(row)), row) for row in lengths])
    packing.packed_equals_separate(maker(backend), example, document, SAME)


@given(example=examples(), token=st.integers(0, SIZES.T - 1))
def test_the_past_alone_decides(example: Example, token: int) -> None:
    memory = maker("reference")(example.composition)
    _, saved = memory.forward(example.inputs)
    changed = {name: array.copy() for name, array in example.inputs.items()}
    for name in ("k", "v"):
        changed[name][:, token:] += 1.0
    _, other = memory.forward(changed)
    for before, after in zip(saved.lengths, other.lengths, strict=True):
        borders = [{b for b in np.cumsum(row) if b < token} for row in (before, after)]
        assert borders[0] == borders[1]


@given(example=examples())
def test_backends_find_the_same_cuts(example: Example) -> None:
    found = [maker(b)(example.composition).forward(example.inputs)[1].lengths for b in BACKENDS]
    assert all(lengths == found[0] for lengths in found)


@given(seed=st.integers(0, 2**16))
def test_drift_by_hand(seed: int) -> None:
    """Token by token: the distance to the mean of the keys of the segment so far."""
    example = Example(_composition("linear", DRIFT), SIZES, seed)
    _, saved = maker("numba")(example.composition).forward(example.inputs)
    for row, lengths in enumerate(saved.lengths):
        keys = example.inputs["k"][row].reshape(SIZES.T, -1)
        assert lengths == _by_hand(DRIFT, lambda t, begin, k=keys: _drift(k, t, begin), SIZES.T)


@given(seed=st.integers(0, 2**16))
def test_surprise_by_hand(seed: int) -> None:
    """Token by token: how far a delta memory that begins with the segment is from the value."""
    example = Example(_composition("delta", SURPRISE), SIZES, seed)
    _, saved = maker("numba")(example.composition).forward(example.inputs)
    for row, lengths in enumerate(saved.lengths):
        found = _by_hand(
            SURPRISE, lambda t, begin, b=row: _surprise(example.inputs, b, t, begin), SIZES.T
        )
        assert lengths == found


@every_backend
@pytest.mark.parametrize(("recurrence", "segmentation"), RULES[:4], ids=str)
def test_finite_differences(backend: str, recurrence: Any, segmentation: Any) -> None:
    example = Example(_composition(recurrence, segmentation), SIZES, seed=5)
    memory = maker(backend)(example.composition)
    bound = tolerance("float64", "finite_difference")
    check_inputs(memory.forward, memory.backward, example.inputs, bound)


def test_bounds_hold() -> None:
    example = Example(_composition("linear", {**DRIFT, "threshold": 0.0}), SIZES, 0)  # type: ignore[dict-item]
    _, eager = maker("reference")(example.composition).forward(example.inputs)
    assert all(set(row[:-1]) == {2} for row in eager.lengths)
    example = Example(_composition("linear", {**DRIFT, "threshold": 1.0}), SIZES, 0)  # type: ignore[dict-item]
    _, lazy = maker("reference")(example.composition).forward(example.inputs)
    assert lazy.lengths == [[6, 6, 6, 1]] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rule": "boredom"}, "segmentation.rule: 'boredom' will not do; drift or surprise would"),
        ({"threshold": 1.5}, "segmentation.threshold: 1.5 is out of range"),
        ({"min": 9, "max": 3}, "segmentation.min: 9 with max 3 will not do"),
        ({"rule": "surprise"}, "segmentation.rule: surprise needs a memory that learns from its"),
    ],
)
def test_what_cannot_cut_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        mcore.memory("linear", {"kind": "adaptive", **options}, "grm", backend="reference")
    assert words in str(caught.value)


def test_a_vector_memory_drifts_by_a_key_of_its_own() -> None:
    memory = mcore.memory("lstm", DRIFT, "none", backend="reference", dtype="float64")
    assert memory.inputs["k"] == "B T H K"
    rng, dims = np.random.default_rng(0), {"B": 1, "T": 7, "H": 1, "K": 2, "V": 3, "G*V": 12}
    inputs = {
        name: rng.standard_normal([dims[axis] for axis in axes.split()])
        for name, axes in memory.inputs.items()
    }
    y, saved = memory.forward(inputs)
    gradients = memory.backward(saved, np.ones_like(y))
    assert (gradients["k"] == 0).all() and gradients["k"].shape == (1, 7, 1, 2)


def _composition(recurrence: Axis, segmentation: Axis) -> Any:
    axes = {"recurrence": recurrence, "segmentation": segmentation}
    return {**axes, "readout": "grm", "start": "independent"}


def _by_hand(cuts: Any, misfit: Any, tokens: int) -> list[int]:
    borders, begin = [], 0
    for t in range(tokens):
        length = t - begin
        fits = length < cuts["min"] or misfit(t, begin) <= cuts["threshold"]
        if not fits or length == cuts["max"]:
            borders.append(t)
            begin = t
    return [int(n) for n in np.diff([0, *borders, tokens])]


def _drift(keys: Array, t: int, begin: int) -> float:
    mean = keys[begin:t].mean(axis=0)
    return _apart(keys[t], mean)


def _surprise(inputs: dict[str, Array], b: int, t: int, begin: int) -> float:
    said = []
    for h in range(SIZES.H):
        memory = np.zeros((SIZES.K, SIZES.V))
        for j in range(begin, t):
            k, v = inputs["k"][b, j, h], inputs["v"][b, j, h]
            memory += inputs["beta"][b, j, h] * np.outer(k, v - memory.T @ k)
        said.append(memory.T @ inputs["k"][b, t, h])
    return _apart(inputs["v"][b, t].ravel(), np.concatenate(said))


def _apart(x: Array, y: Array) -> float:
    return float(np.linalg.norm(x - y) / (np.linalg.norm(x) + np.linalg.norm(y)))
