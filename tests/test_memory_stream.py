"""Streams that change in place: the answers and states of `step`, whatever runs them."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, maker
from hypothesis import given
from hypothesis import strategies as st
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.cache import MemoryState
from mcore.errors import InputError, ShapeError, SpecError
from mcore.stream import MANY
from mcore.testing import streaming
from mcore.testing.agreement import assert_agree, change
from mcore.testing.samples import sample_inputs
from mcore.testing.strategies import EVERY_READOUT, STARTS, VARIANTS, Example, Sizes, splits, takes

SIZES = Sizes(B=2, T=17, H=2, K=5, V=4)
DECODED = (
    {"kind": "linear", "feature_map": "elu1"},
    {"kind": "linear", "normalize": True, "feature_map": "elu1"},
    *("retention", "mamba2", "delta", "gated_delta", "gla", "rwkv7", "swla", "mlstm"),
    *("lstm", "gru", "slstm"),
)
READ = (
    *("none", "residual", "grm", {"kind": "ssc", "top_k": 2}),
    {"kind": "moving_average", "weights": "uniform"},
    {"kind": "moving_average", "weights": "ema", "rate": 0.5},
)
CACHES: tuple[dict[str, Any], ...] = (
    *({}, {"limit": 2}, {"limit": 1}, {"limit": 3}),
    {"limit": 2, "evict": "merge"},
)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@st.composite
def examples(draw: st.DrawFn, recurrences: Any = DECODED) -> Example:
    """Everything that may be decoded, and some that may not."""
    recurrence = draw(st.sampled_from(recurrences))
    readouts = [r for r in (*EVERY_READOUT, *VARIANTS) if takes(recurrence, r)]
    cut = st.sampled_from(("none", {"kind": "constant", "length": 3}))
    given_cuts = splits(SIZES.T).map(lambda lengths: {"kind": "given", "lengths": lengths})
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": draw(st.one_of(cut, given_cuts)),
        "readout": draw(st.sampled_from(readouts)),
        "start": draw(st.sampled_from(STARTS)),
        "cache": draw(st.sampled_from(CACHES)),
    }
    return Example(composition, SIZES, draw(st.integers(0, 2**16)))


@every_backend
@given(data=st.data(), example=examples((*DECODED, "titans", "dla")))
def test_stream_equals_batch(backend: str, data: st.DataObject, example: Example) -> None:
    split = data.draw(splits(example.sizes.T))
    bound = tolerance("float64", "same")
    streaming.live_stream_equals_batch(maker(backend), example, split, bound)


@given(example=examples(("gated_delta", "mlstm")), start=st.integers(0, 16))
def test_a_cache_in_few_bytes(example: Example, start: int) -> None:
    """To the rounding of a checkpoint, whose last bit may go either way; also from a state."""
    composition = change(example.composition, "cache", {"limit": 3, "dtype": "int8"})
    memory = maker("numba", "float32")(composition)
    want, saved = memory.forward(example.inputs)
    pieces = example.pieces([start, *[1] * (SIZES.T - start)] if start else [1] * SIZES.T)
    _, state = memory.step(pieces[0])
    stream = memory.stream(state)
    y = np.concatenate([stream.feed(piece) for piece in pieces[1:]], axis=1)
    assert_agree(y, want[:, -y.shape[1] :], 2e-2, "y")
    _same_state(stream.state, saved.end, 2e-2)


@pytest.mark.parametrize("recurrence", DECODED, ids=str)
@pytest.mark.parametrize("readout", READ, ids=str)
def test_what_is_decoded(recurrence: Any, readout: Any) -> None:
    """One kernel call a token; its state goes on in `step`, and that of `step` in a stream."""
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": {"kind": "constant", "length": 2},
        "readout": readout,
        "start": "checkpoint",
        "cache": {"limit": 3},
    }
    example = Example(composition, SIZES, seed=3)
    memory = maker("numba")(composition)
    want, saved = memory.forward(example.inputs)
    first, *tokens, last = example.pieces([5, *[1] * 8, 4])
    stream = memory.stream()
    pieces = [stream.feed(first), *map(stream.feed, tokens)]
    assert stream.decodes
    y, state = memory.step(last, stream.state)
    assert_agree(np.concatenate([*pieces, y], axis=1), want, tolerance("float64", "same"), "y")
    _same_state(state, saved.end, tolerance("float64", "same"))


def test_a_cache_that_grows_keeps_its_order() -> None:
    """Far beyond the room at first, with ties and evictions across the ring's end."""
    sizes = Sizes(B=1, T=400, H=1, K=2, V=2)
    for cache in ({}, {"limit": 70}):
        composition: Any = {
            "recurrence": "gated_delta",
            "segmentation": {"kind": "constant", "length": 2},
            "readout": {"kind": "ssc", "top_k": 3},
            "start": "independent",
            "cache": cache,
        }
        example = Example(composition, sizes, seed=5)
        streaming.live_stream_equals_batch(maker("numba"), example, [1] * 400, 1e-10)
        streaming.live_stream_equals_batch(maker("numba"), example, [MANY, 400 - MANY], 1e-10)


@pytest.mark.parametrize("skip", [0.0, 0.05, 0.5])
def test_skipping_stays_within_its_bound(skip: float) -> None:
    composition: Any = {
        "recurrence": "gated_linear",
        "segmentation": {"kind": "constant", "length": 2},
        "readout": {"kind": "grm", "scale": 3.0},
        "start": "independent",
    }
    memory = maker("numba")(composition)
    inputs = Example(composition, Sizes(B=1, T=60, H=1, K=6, V=6), seed=2)
    exact, rough = memory.stream(), memory.stream(skip=skip)
    bounds = []
    for token in inputs.pieces([1] * 60):
        error = np.linalg.norm(exact.feed(token) - rough.feed(token))
        bounds.append(rough.bound)
        assert error <= rough.bound + 1e-12
        assert rough.bound <= skip
        assert exact.bound == 0.0
    assert (max(bounds) > 0) == (skip > 0)


@pytest.mark.parametrize(
    ("readout", "skip"), [("residual", 0.1), ({"kind": "ssc", "top_k": 1}, 0.1), ("grm", -1.0)]
)
def test_what_cannot_be_skipped_is_refused(readout: Any, skip: float) -> None:
    memory = mcore.memory("linear", "constant", readout)
    with pytest.raises(SpecError, match="skip: "):
        memory.stream(skip=skip)


@every_backend
def test_wrong_tokens_leave_the_stream_as_it_was(backend: str) -> None:
    composition: Any = {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "given", "lengths": [2, 3]},
        "readout": "grm",
        "start": "checkpoint",
    }
    example = Example(composition, SIZES._replace(T=5), seed=1)
    memory = maker(backend)(composition)
    want, _ = memory.forward(example.inputs)
    stream = memory.stream()
    found: list[Array] = []
    for token in example.pieces([1] * 5):
        infinite = {**token, "log_decay": np.full_like(token["log_decay"], -np.inf)}
        wide = {**token, "v": np.zeros((*token["v"].shape[:-1], 9))}
        for wrong, error in ((infinite, InputError), ({"q": token["q"]}, InputError)):
            with pytest.raises(error):
                stream.feed(wrong)
        if found:
            with pytest.raises(ShapeError):
                stream.feed(wide)
        found.append(stream.feed(token))
    assert_agree(np.concatenate(found, axis=1), want, tolerance("float64", "same"), "y")
    with pytest.raises(SpecError, match="they sum to 5"):
        stream.feed(example.pieces([1] * 5)[0])


def test_documents_in_a_stream() -> None:
    composition: Any = {
        "recurrence": "linear",
        "segmentation": {"kind": "constant", "length": 2},
        "readout": "residual",
        "start": "independent",
    }
    example = Example(composition, SIZES, seed=4)
    document = np.repeat([[0, 1, 2]], [6, 4, 7], axis=1).repeat(2, axis=0)
    memory = maker("numba")(composition)
    want, _ = memory.forward(example.inputs, document=document)
    stream, begin, found = memory.stream(), 0, []
    for length in (3, 1, 1, 1, 1, 2, 8):
        piece, ids = example.pieces([begin, length])[1], document[:, begin : begin + length]
        found.append(stream.feed(piece, document=ids))
        begin += length
    assert_agree(np.concatenate(found, axis=1), want, tolerance("float64", "same"), "y")


def test_nothing_piles_up_on_a_long_stream() -> None:
    composition: Any = {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 2},
        "readout": "grm",
        "start": "independent",
        "cache": {"limit": 3, "dtype": "int8"},
    }
    memory = maker("numba", "float32")(composition)
    token = {
        name: x.astype(np.float32)
        for name, x in sample_inputs(composition, Sizes(1, 1, 1, 4, 4), 0).items()
    }
    stream = memory.stream()
    _feed(stream, token, 200)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    _feed(stream, token, 2000)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held < 20_000


def _feed(stream: mcore.Stream, token: dict[str, Array], count: int) -> None:
    for _ in range(count):
        stream.feed(token)


def _same_state(got: MemoryState | None, want: MemoryState, bound: float) -> None:
    assert got is not None
    for name in ("position", "length", "count", "document", "ledger"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    for name in ("online", "contexts", "keys"):
        ours, theirs = getattr(got, name), getattr(want, name)
        assert ours.dtype == theirs.dtype
        if theirs.size:
            assert_agree(ours, theirs, bound, name)
    assert got.checkpoints.dtype == want.checkpoints.dtype
    assert got.checkpoints.shape == want.checkpoints.shape
    assert got.scales.shape == want.scales.shape
