"""Documents packed in a row, and padding: packed is separate, in batch and in a stream."""

from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, maker
from hypothesis import given
from hypothesis import strategies as st
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.errors import InputError, ShapeError, SpecError
from mcore.testing import packing, streaming
from mcore.testing.strategies import RECURRENCES, Example, Sizes, examples, splits

SAME = tolerance("float64", "same")
every_backend = pytest.mark.parametrize("backend", BACKENDS)
not_given = examples().filter(lambda e: "given" not in str(e.composition["segmentation"]))


@st.composite
def ids(draw: st.DrawFn, sizes: Sizes) -> Array:
    """Ids of documents of any lengths, and padding at the end of some rows."""
    rows = []
    for _ in range(sizes.B):
        lengths = draw(splits(sizes.T))
        names = draw(st.permutations(range(len(lengths))))
        row = np.repeat(names, lengths)
        padding = draw(st.integers(0, sizes.T))
        rows.append(np.where(np.arange(sizes.T) >= sizes.T - padding, -1, row))
    return np.stack(rows)


@every_backend
@given(data=st.data(), example=not_given)
def test_packed_equals_separate(backend: str, data: st.DataObject, example: Example) -> None:
    document = data.draw(ids(example.sizes))
    packing.packed_equals_separate(maker(backend), example, document, SAME)


@every_backend
@given(data=st.data(), example=examples(streamable=True))
def test_packed_rows_stream(backend: str, data: st.DataObject, example: Example) -> None:
    document, split = data.draw(ids(example.sizes)), data.draw(splits(example.sizes.T))
    streaming.stream_equals_batch(maker(backend), example, split, SAME, document)
    streaming.chained_backward_equals_whole(maker(backend), example, split, 1e-9, document)


@every_backend
@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_rows_that_pause(backend: str, recurrence: Any) -> None:
    """A row of a stream in which nothing arrives keeps its state, and its gradient."""
    axes: Any = {
        "recurrence": recurrence,
        "segmentation": {"kind": "constant", "length": 3},
        "readout": "grm",
        "start": "checkpoint",
    }
    example = Example(axes, Sizes(B=3, T=8, H=2, K=3, V=2), seed=3)
    document = np.zeros((3, 8), int)
    document[0, 2:], document[1, 5:] = -1, -1
    for split in ([4, 4], [1] * 8, [2, 3, 3]):
        streaming.stream_equals_batch(maker(backend), example, split, SAME, document)
        streaming.chained_backward_equals_whole(maker(backend), example, split, 1e-9, document)


@every_backend
def test_a_document_goes_on_in_the_next_call_only_under_its_id(backend: str) -> None:
    composition: Any = {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 3},
        "readout": "grm",
        "start": "independent",
    }
    example = Example(composition, Sizes(B=1, T=10, H=1, K=2, V=2), seed=0)
    memory = maker(backend)(example.composition)
    first, second = example.pieces([4, 6])
    _, state = memory.step(first, document=np.full((1, 4), 7))
    same, _ = memory.step(second, state, document=np.full((1, 6), 7))
    silent, _ = memory.step(second, state)
    other, _ = memory.step(second, state, document=np.full((1, 6), 8))
    alone, _ = memory.step(second)
    np.testing.assert_array_equal(silent, same)
    np.testing.assert_allclose(other, alone, atol=1e-12)
    assert np.abs(other - same).max() > 1e-3


@every_backend
def test_padding_may_hold_anything_finite(backend: str) -> None:
    composition: Any = {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 2},
        "readout": "ssc",
        "start": "independent",
    }
    memory = mcore.memory(**composition, backend=backend, dtype="float64")
    rng = np.random.default_rng(0)
    shapes = {"B": 1, "T": 6, "H": 1, "K": 2, "V": 2}
    inputs = {
        name: 0.1 * rng.standard_normal([shapes[axis] for axis in axes.split()])
        for name, axes in memory.inputs.items()
    }
    document = np.array([[0, 0, 0, -1, -1, -1]])
    y, saved = memory.forward(inputs, document=document)
    loud = {
        name: x + 1e3 * (np.arange(6) >= 3).reshape(1, 6, *[1] * (x.ndim - 2))
        for name, x in inputs.items()
    }
    loud["log_decay"] = inputs["log_decay"]
    again, _ = memory.forward(loud, document=document)
    np.testing.assert_array_equal(again, y)
    assert (y[:, 3:] == 0).all()
    assert saved.end.position.tolist() == [3]


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        (np.zeros((2, 4), int), ShapeError, "document: shape (2, 4), expected (B, T) = (2, 5)"),
        (np.zeros((2, 5)), InputError, "document: float64, expected integers"),
        ([[0, -1, 0, 0, 0]] * 2, InputError, "document: row 0 has padding at token 1"),
    ],
)
def test_wrong_ids_are_refused(document: Any, error: type[Exception], words: str) -> None:
    composition: Any = {"recurrence": "linear", "segmentation": "none", "readout": "none"}
    example = Example(composition | {"start": "independent"}, Sizes(2, 5, 1, 2, 2), seed=0)
    memory = mcore.memory(backend="reference")
    with pytest.raises(error) as caught:
        memory.forward(example.inputs, document=document)
    assert words in str(caught.value)


def test_given_lengths_and_documents_exclude_each_other() -> None:
    composition: Any = {
        "recurrence": "linear",
        "segmentation": {"kind": "given", "lengths": [3, 2]},
        "readout": "none",
        "start": "independent",
    }
    example = Example(composition, Sizes(2, 5, 1, 2, 2), seed=0)
    memory = mcore.memory(**composition, backend="reference")
    with pytest.raises(SpecError, match="given lengths count from the start of a row"):
        memory.forward(example.inputs, document=np.zeros((2, 5), int))
