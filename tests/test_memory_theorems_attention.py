"""Memory caching with segments of one token is attention (Behrouz et al. 2026, Eq. 18-20)."""

from typing import Any

import numpy as np
import pytest
from harness import BACKENDS, maker
from hypothesis import given
from hypothesis import strategies as st
from tolerances import tolerance

from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.testing.agreement import assert_agree, change, output
from mcore.testing.samples import axis, sample_inputs, sample_normal
from mcore.testing.strategies import RECURRENCES, Axis, Composition, Sizes

SAME = tolerance("float64", "same")
ATTENTION: Composition = {
    "recurrence": "linear",
    "segmentation": {"kind": "constant", "length": 1},
    "readout": "grm",
    "start": "independent",
}
every_backend = pytest.mark.parametrize("backend", BACKENDS)
some_sizes = st.builds(Sizes, *[st.integers(1, n) for n in (2, 9, 2, 4, 4)])


def attention(backend: str, q: Array, k: Array, v: Array) -> Array:
    """The backend's own causal softmax attention."""
    return get_backend(backend).attention(q, np.ascontiguousarray(k), v, None)[0]


def value_less(inputs: dict[str, Array]) -> dict[str, Array]:
    """One more channel that q reads alone and k fills with 1: the read of a token's memory is v
    itself, whatever the query, and the extra channel of u routes nothing."""
    extra = np.zeros((*inputs["q"].shape[:-1], 1))
    return inputs | {
        "q": np.concatenate([np.zeros_like(inputs["q"]), extra + 1], axis=-1),
        "k": np.concatenate([inputs["k"], extra + 1], axis=-1),
        "u": np.concatenate([inputs["u"], extra], axis=-1),
    }


@every_backend
@given(sizes=some_sizes, seed=st.integers(0, 99))
def test_segment_one_is_softmax_attention_gated_by_key_and_query(
    backend: str, sizes: Sizes, seed: int
) -> None:
    """y_t = sum_i softmax_i(u_t . k_i / sqrt(K)) (k_i . q_t) v_i."""
    inputs = sample_inputs(ATTENTION, sizes, seed)
    match = np.einsum("bthk,bjhk->bhtj", inputs["q"], inputs["k"])
    want = np.einsum("bhtj,bjhv->bthv", softmax_weights(inputs) * match, inputs["v"])
    assert_agree(output(maker(backend), ATTENTION, inputs), want, SAME, "y")


@every_backend
@given(sizes=some_sizes, seed=st.integers(0, 99))
def test_segment_one_is_softmax_attention(backend: str, sizes: Sizes, seed: int) -> None:
    """Of a value-less memory, the readout is softmax attention of u over k."""
    inputs = value_less(sample_inputs(ATTENTION, sizes, seed))
    want = np.einsum("bhtj,bjhv->bthv", softmax_weights(inputs), inputs["v"])
    assert_agree(output(maker(backend), ATTENTION, inputs), want, SAME, "y")


@every_backend
@given(sizes=some_sizes, seed=st.integers(0, 99))
def test_segment_one_and_a_value_less_memory_are_gated_softmax_attention(
    backend: str, sizes: Sizes, seed: int
) -> None:
    """Eq. 18-20: memories b_K + x_i W_K, written once each, read by a product with sigma(x W_Q):
    y_t = (sum_i softmax_i(u_t . k_i / sqrt(K)) (b_K + x_i W_K)) * sigma(x_t W_Q)."""
    inputs = value_less(sample_inputs(ATTENTION, sizes, seed))
    x = sample_normal((sizes.B, sizes.T, 5), seed)
    w_k, w_q = (sample_normal((5, sizes.H, sizes.V), seed + i) for i in (1, 2))
    bias = sample_normal((sizes.H, sizes.V), seed + 3)
    inputs["v"] = bias + np.einsum("btd,dhv->bthv", x, w_k)
    gate = 1 / (1 + np.exp(-np.einsum("btd,dhv->bthv", x, w_q)))
    want = attention(backend, inputs["u"], inputs["k"], inputs["v"]) * gate
    assert_agree(output(maker(backend), ATTENTION, inputs) * gate, want, SAME, "y")


@every_backend
@pytest.mark.parametrize("recurrence", RECURRENCES, ids=str)
def test_a_hybrid_is_memory_caching_with_segments_of_one_token(
    backend: str, recurrence: Axis
) -> None:
    """A recurrent compressor read with q = 1, then global attention over its answers, is a memory
    whose checkpoints are kept at every token and read with q = 1 (section 4.1), for every rule.

    Attention takes what routing takes: u as queries, the contexts of single tokens as keys.
    """
    cached = change(change(ATTENTION, "recurrence", recurrence), "start", "checkpoint")
    inputs = sample_inputs(cached, Sizes(B=2, T=7, H=2, K=3, V=4), 3)
    if "q" in inputs:
        inputs["q"] = np.ones_like(inputs["q"])
    answers = output(maker(backend), change(cached, "readout", "none"), inputs)
    keys = inputs["k"]
    if axis(cached, "recurrence").get("feature_map") == "elu1":
        keys = np.where(keys > 0, keys + 1, np.exp(np.minimum(keys, 0)))
    want = attention(backend, inputs["u"], keys, answers)
    assert_agree(output(maker(backend), cached, inputs), want, SAME, "y")


def softmax_weights(inputs: dict[str, Array]) -> Array:
    """Causal softmax (B, H, T, T) of <u, k> / sqrt(K)."""
    scores = np.einsum("bthk,bjhk->bhtj", inputs["u"], inputs["k"]) / np.sqrt(inputs["u"].shape[-1])
    weights: Any = np.exp(scores) * np.tri(scores.shape[-1])
    return weights / weights.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]
