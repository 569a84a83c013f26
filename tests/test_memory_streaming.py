"""Any split of a sequence gives what the whole gives: y, end states, gradients."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, DTYPES, maker
from hypothesis import given
from hypothesis import strategies as st
from tolerances import tolerance

from mcore.arrays import Array
from mcore.testing import streaming
from mcore.testing.agreement import assert_agree, change
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import Example, Sizes, examples, sizes, splits

SAME = tolerance("float64", "same")
every_backend = pytest.mark.parametrize("backend", BACKENDS)
streams = examples(streamable=True)


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), example=streams)
def test_stream_equals_batch(
    backend: str, dtype: str, data: st.DataObject, example: Example
) -> None:
    split = data.draw(splits(example.sizes.T))
    streaming.stream_equals_batch(maker(backend, dtype), example, split, tolerance(dtype, "same"))


@every_backend
@given(example=streams)
def test_token_by_token_equals_batch(backend: str, example: Example) -> None:
    streaming.stream_equals_batch(maker(backend), example, [1] * example.sizes.T, SAME)


@every_backend
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), example=streams)
def test_chained_backward_equals_whole(
    backend: str, dtype: str, data: st.DataObject, example: Example
) -> None:
    split = data.draw(splits(example.sizes.T))
    streaming.chained_backward_equals_whole(
        maker(backend, dtype), example, split, tolerance(dtype, "backward")
    )


@every_backend
@given(data=st.data(), example=examples(streamable=True, shapes=sizes(least_tokens=2)))
def test_old_state_stays_usable(backend: str, data: st.DataObject, example: Example) -> None:
    """Two continuations from one state do not see each other, and leave it as it was."""
    memory = maker(backend)(example.composition)
    cut = data.draw(st.integers(1, example.sizes.T - 1))
    first, second = example.pieces([cut, example.sizes.T - cut])
    _, state = memory.step(first)
    untouched = copy.deepcopy(state)
    once, _ = memory.step(second, state)
    name = "v" if "v" in second else "x"
    other = {**second, name: second[name] + 1.0}
    memory.step(other, state)
    y, saved = memory.forward(other, state)
    memory.backward(saved, np.ones_like(y))
    assert np.array_equal(memory.step(second, state)[0], once)
    assert np.array_equal(memory.step(second, untouched)[0], once)


@every_backend
@given(data=st.data(), example=examples(streamable=True, shapes=sizes(least_tokens=2)))
def test_the_future_reaches_the_past_through_the_state(
    backend: str, data: st.DataObject, example: Example
) -> None:
    """A loss of the second piece alone: the first piece's gradients all come through d_end."""
    cut = data.draw(st.integers(1, example.sizes.T - 1))
    memory = maker(backend)(example.composition)
    past, future = example.pieces([cut, example.sizes.T - cut])

    def forward(inputs: Mapping[str, Array]) -> tuple[Array, Any]:
        _, before = memory.forward(inputs)
        y, after = memory.forward(future | parameters(example, inputs), before.end)
        return y, (before, after)

    def backward(saved: Any, dy: Array) -> dict[str, Any]:
        before, after = saved
        late = memory.backward(after, dy)
        early = memory.backward(before, np.zeros_like(example.dy[:, :cut]), late["state"])
        return early | {name: early[name] + late[name] for name in parameters(example, past)}

    check_inputs(forward, backward, past, tolerance("float64", "finite_difference"))


def parameters(example: Example, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs without a T axis."""
    return {name: x for name, x in inputs.items() if "T" not in example.declared[name].split()}


@every_backend
@given(data=st.data(), example=examples())
def test_given_segments_stream(backend: str, data: st.DataObject, example: Example) -> None:
    """`step` may take a part of a sequence whose cuts are given; forward wants all of it."""
    cuts = data.draw(st.lists(splits(example.sizes.T), min_size=1, max_size=example.sizes.B))
    lengths: Any = cuts if len(cuts) == example.sizes.B else cuts[0]
    composition = change(example.composition, "segmentation", {"kind": "given", "lengths": lengths})
    memory = maker(backend)(composition)
    want, _ = memory.forward(example.inputs)
    state, pieces = None, []
    for piece in example.pieces(data.draw(splits(example.sizes.T))):
        y, state = memory.step(piece, state)
        pieces.append(y)
    assert_agree(np.concatenate(pieces, axis=1), want, SAME, "y")


@every_backend
def test_a_long_stream_crosses_many_borders(backend: str) -> None:
    sizes = Sizes(B=2, T=67, H=2, K=3, V=2)
    for recurrence in ("linear", "gated_delta"):
        example = Example(
            {
                "recurrence": recurrence,
                "segmentation": {"kind": "constant", "length": 5},
                "readout": {"kind": "ssc", "top_k": 3},
                "start": "checkpoint",
            },
            sizes,
            seed=1,
        )
        for split in ([1] * 67, [30, 37], [5, 62], [4, 1, 1, 61], [66, 1]):
            streaming.stream_equals_batch(maker(backend), example, split, SAME)
            streaming.chained_backward_equals_whole(maker(backend), example, split, 1e-9)
