"""Bounded caches: the same answer in batch and stream, what goes first, and in how many bytes."""

from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, maker
from hypothesis import given
from hypothesis import strategies as st
from tolerances import tolerance

import mcore
from mcore.arrays import Array
from mcore.cache import compact, expand
from mcore.errors import SpecError
from mcore.testing import packing, properties, streaming
from mcore.testing.agreement import assert_agree, change
from mcore.testing.gradcheck import check_inputs
from mcore.testing.strategies import STARTS, Axis, Example, Sizes, splits

SAME = tolerance("float64", "same")
SIZES = Sizes(B=2, T=17, H=2, K=3, V=3)
CACHES: tuple[dict[str, Any], ...] = (
    {"limit": 2},
    {"limit": 1, "evict": "merge"},
    {"limit": 2, "evict": "merge"},
    {"limit": 2, "evict": "least_used"},
    {"dtype": "float16"},
    {"limit": 2, "dtype": "bfloat16"},
    {"limit": 2, "evict": "merge", "dtype": "int8"},
    {"limit": 1, "evict": "least_used", "dtype": "float32"},
)
RULES: tuple[Axis, ...] = (
    "linear",
    {"kind": "linear", "feature_map": "elu1", "normalize": True},
    "gated_delta",
    "mlstm",
    "titans",
    "lstm",
)
READOUTS: tuple[Axis, ...] = ("grm", "soup", {"kind": "ssc", "top_k": 1})
every_backend = pytest.mark.parametrize("backend", BACKENDS)


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A bounded cache with all that it may be combined with."""
    cache = draw(st.sampled_from(CACHES))
    plain = () if cache.get("evict") == "least_used" else ("residual",)
    composition: Any = {
        "recurrence": draw(st.sampled_from(RULES)),
        "segmentation": {"kind": "constant", "length": 3},
        "readout": draw(st.sampled_from(READOUTS + plain)),
        "start": draw(st.sampled_from(STARTS)),
        "cache": cache,
    }
    return Example(composition, SIZES, draw(st.integers(0, 2**16)))


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
def test_stream_equals_batch(backend: str, data: st.DataObject, example: Example) -> None:
    split = data.draw(splits(example.sizes.T))
    streaming.stream_equals_batch(maker(backend), example, split, SAME)
    streaming.chained_backward_equals_whole(maker(backend), example, split, 1e-9)


@every_backend
@given(data=st.data(), example=examples())
def test_packed_equals_separate(backend: str, data: st.DataObject, example: Example) -> None:
    lengths = [data.draw(splits(example.sizes.T)) for _ in range(example.sizes.B)]
    document = np.stack([np.repeat(np.arange(len(row)), row) for row in lengths])
    packing.packed_equals_separate(maker(backend), example, document, SAME)


@every_backend
@given(example=examples().filter(lambda e: "dtype" not in e.composition["cache"]))
def test_finite_differences(backend: str, example: Example) -> None:
    memory = maker(backend)(example.composition)
    bound = tolerance("float64", "finite_difference")
    check_inputs(memory.forward, memory.backward, example.inputs, bound)


@every_backend
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("recurrence", ["linear", "retention"])
def test_merging_is_exact_for_residual_over_additive_memories(
    backend: str, recurrence: str, start: str
) -> None:
    """The sum of two states reads as both: however few are held, residual gives the same."""
    composition: Any = {
        "recurrence": recurrence,
        "segmentation": {"kind": "constant", "length": 2},
        "readout": "residual",
        "start": start,
    }
    example = Example(composition, SIZES, seed=1)
    memory = maker(backend)(composition)
    want, saved = memory.forward(example.inputs)
    wanted = memory.backward(saved, example.dy)
    for limit in (1, 3):
        cache = {"limit": limit, "evict": "merge"}
        bounded = maker(backend)(change(composition, "cache", cache))
        y, saved = bounded.forward(example.inputs)
        assert saved.end.checkpoints.shape[1] == limit
        assert_agree(y, want, SAME, "y")
        for name, gradient in bounded.backward(saved, example.dy).items():
            assert_agree(gradient, wanted[name], SAME, name)


@every_backend
@pytest.mark.parametrize("evict", ["oldest", "merge", "least_used"])
@given(seed=st.integers(0, 2**16))
def test_by_hand(backend: str, evict: str, seed: int) -> None:
    """A linear memory with grm, token by token and checkpoint by checkpoint."""
    composition: Any = {
        "recurrence": "linear",
        "segmentation": {"kind": "constant", "length": 2},
        "readout": "grm",
        "start": "independent",
        "cache": {"limit": 2, "evict": evict},
    }
    example = Example(composition, SIZES._replace(H=1), seed)
    y, _ = maker(backend)(composition).forward(example.inputs)
    for row in range(SIZES.B):
        inputs = {name: array[row, :, 0] for name, array in example.inputs.items()}
        assert_agree(y[row, :, 0], _by_hand(inputs, evict), SAME, "y")


@given(tokens=st.integers(5, 200))
def test_merging_keeps_an_even_resolution(tokens: int) -> None:
    """The two neighbours with the fewest tokens go together: none grows far beyond its share."""
    memory = mcore.memory(
        "linear", {"kind": "constant", "length": 1}, "residual", backend="reference",
        cache={"limit": 4, "evict": "merge"},
    )  # fmt: skip
    x = np.ones((1, tokens, 1, 1), np.float32)
    _, saved = memory.forward({"q": x, "k": x, "v": x})
    held = saved.end.ledger[0, :, 0]
    assert held.sum() == tokens
    assert held.max() <= max(2.0, tokens / 2)


@pytest.mark.parametrize(
    ("dtype", "error"), [("float32", 6e-8), ("float16", 5e-4), ("bfloat16", 4e-3), ("int8", 4e-3)]
)
def test_rounding_is_bounded(dtype: Any, error: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 2, 24)) * np.exp(rng.uniform(-8, 8, (2, 3, 2, 1)))
    x[0, 0] = 0
    stored = compact(x, dtype, 6)
    back = expand(stored, "float64")
    largest = np.abs(x.reshape(2, 3, 2, 4, 6)).max(axis=-1).repeat(6, axis=-1)
    assert (np.abs(back - x) <= error * largest.reshape(x.shape)).all()
    again = compact(back, dtype, 6)
    np.testing.assert_array_equal(again.codes, stored.codes)


def test_bytes_are_those_of_the_dtype() -> None:
    x = np.ones((1, 9, 1, 4), np.float32)
    sizes = {}
    for dtype in (None, "float16", "bfloat16", "int8"):
        memory = mcore.memory(
            "linear", {"kind": "constant", "length": 2}, "residual", backend="reference",
            cache={"dtype": dtype},
        )  # fmt: skip
        _, saved = memory.forward({"q": x, "k": x, "v": x})
        sizes[dtype] = saved.end.checkpoints.nbytes + saved.end.scales.nbytes
    assert sizes == {None: 4 * 64, "float16": 4 * 32, "bfloat16": 4 * 32, "int8": 4 * (16 + 16)}


def test_half_precision_saturates() -> None:
    stored = compact(np.array([[[[1e9, -1e9]]]]), "float16", 2)
    np.testing.assert_array_equal(expand(stored, "float64"), [[[[65504.0, -65504.0]]]])


def test_memory_is_flat_on_a_long_stream() -> None:
    memory = mcore.memory(
        "gated_delta", {"kind": "constant", "length": 4}, "grm", backend="numba",
        cache={"limit": 3, "evict": "merge", "dtype": "int8"},
    )  # fmt: skip
    rng, state, sizes = np.random.default_rng(0), None, set()
    shapes = {"B T H K": (1, 1, 1, 4), "B T H V": (1, 1, 1, 4), "B T H": (1, 1, 1)}
    for token in range(200):
        inputs = {n: 0.1 * rng.standard_normal(shapes[a]) for n, a in memory.inputs.items()}
        inputs["log_decay"] = -np.abs(inputs["log_decay"])
        y, state = memory.step(inputs, state)
        assert np.isfinite(y).all()
        if token > 16:
            sizes.add(state.nbytes)
    assert len(sizes) == 1


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        ({"limit": 0}, "cache.limit: 0 is too small; 1 or more would do"),
        ({"limit": 2.5}, "cache.limit: 2.5 will not do; a whole number would"),
        ({"evict": "newest"}, "cache.evict: 'newest' will not do"),
        ({"size": 3}, "cache.size: not an option of a cache; it takes limit, evict, dtype"),
        (7, "cache: 7 will not do; a dict such as"),
        ({"limit": 2, "evict": "least_used"}, "cache.evict: least_used looks at the gates of a"),
    ],
)
def test_what_cannot_bound_is_refused(cache: Any, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        mcore.memory("linear", "constant", "residual", backend="reference", cache=cache)
    assert words in str(caught.value)


class _Held:
    """A checkpoint, its context, and the books on it."""

    def __init__(self, state: Array, keys: list[Array]) -> None:
        self.state, self.context, self.tokens = state, np.mean(keys, axis=0), len(keys)
        self.since, self.used = 0, 0.0


def _by_hand(inputs: dict[str, Array], evict: str) -> Array:
    held: list[_Held] = []
    state, outputs = np.zeros((SIZES.K, SIZES.V)), []
    keys: list[Array] = []
    for q, k, v, u in zip(*(inputs[name] for name in "qkvu"), strict=True):
        state, keys = state + np.outer(k, v), [*keys, k]
        contexts = [each.context for each in held] + [np.mean(keys, axis=0)]
        gates = np.exp([u @ context / np.sqrt(SIZES.K) for context in contexts])
        gates = gates / gates.sum()
        states = [each.state for each in held] + [state]
        outputs.append(sum(g * s.T @ q for g, s in zip(gates, states, strict=True)))
        for each, gate in zip(held, gates, strict=False):
            each.since, each.used = each.since + 1, each.used + gate
        if len(keys) == 2:
            held.append(_Held(state, keys))
            state, keys = np.zeros_like(state), []
            if len(held) == 3:
                _drop(held, evict)
    return np.stack(outputs)


def _drop(held: list[_Held], evict: str) -> None:
    if evict == "oldest":
        held.pop(0)
    elif evict == "least_used":
        held.remove(min(held[:-1], key=lambda each: each.used / each.since))
    else:
        first = 0 if held[0].tokens + held[1].tokens <= held[1].tokens + held[2].tokens else 1
        older, newer = held[first], held.pop(first + 1)
        total = older.tokens + newer.tokens
        older.context = (older.tokens * older.context + newer.tokens * newer.context) / total
        older.state, older.tokens = older.state + newer.state, total
