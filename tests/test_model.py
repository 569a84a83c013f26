"""The network: gradients of every parameter, streaming, sessions, determinism, saving."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import BACKENDS
from hypothesis import given
from hypothesis import strategies as st

import mcore
from mcore.arrays import Array
from mcore.model import Model
from mcore.recurrence import RULES
from mcore.testing.gradcheck import check_inputs

VOCAB = 20


def small(recurrence: Any = "gated_delta", **model: Any) -> dict[str, Any]:
    """A spec of two narrow blocks with K != V."""
    sizes = {"width": 12, "depth": 2, "heads": 2, "key": 4, "value": 3, "mlp": 1.0}
    return {
        "model": sizes | model,
        "memory": {
            "recurrence": recurrence,
            "segmentation": {"kind": "constant", "length": 4},
            "readout": "grm",
        },
        "data": {"task": "mqar", "vocab": VOCAB, "length": 16, "pairs": 4},
        "backend": "reference",
        "dtype": "float64",
    }


def batch(tokens: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, VOCAB, (2, tokens)), rng.integers(-1, VOCAB, (2, tokens))


def check_gradients(model: Model, tokens: int) -> None:
    """Every parameter against central differences of the loss."""
    words, labels = batch(tokens)

    def forward(params: dict[str, Array]) -> tuple[Array, Any]:
        model.params = params
        loss, saved = model.loss(words, labels)
        return np.array(loss.value), saved

    def backward(saved: Any, d_value: Array) -> dict[str, Array]:
        return {name: d_value * g for name, g in model.loss_backward(saved).items()}

    check_inputs(forward, backward, model.params, tolerance=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", RULES)
def test_every_gradient_of_every_rule(kind: str, backend: str) -> None:
    value = 4 if RULES[kind].square else 3
    check_gradients(mcore.compile(small(kind, value=value), backend=backend), tokens=7)


@pytest.mark.parametrize("tokens", [1, 2])
def test_gradients_of_short_sequences(tokens: int) -> None:
    check_gradients(mcore.compile(small()), tokens)


@pytest.mark.parametrize(
    "model",
    [
        {"mixer": "attention"},
        {"mixer": "attention", "window": 3, "rope": False},
        {"blocks": [{"mixer": "parallel", "window": 3}, "memory"]},
        {"blocks": [{"mixer": "parallel", "join": "gate"}, "memory"]},
        {"conv": 0, "output_gate": False, "tied": False, "mlp": 0},
    ],
    ids=["attention", "window", "hybrid", "gated hybrid", "bare"],
)
def test_gradients_of_other_networks(model: dict[str, Any]) -> None:
    check_gradients(mcore.compile(small(**model)), tokens=6)


@pytest.mark.parametrize("kind", ["mamba2", "rwkv7", "retention"])
def test_gradients_without_output_gate_and_convolution(kind: str) -> None:
    check_gradients(mcore.compile(small(kind, output_gate=False, conv=0)), tokens=5)


def test_loss_and_backward_agree_with_logits() -> None:
    model = mcore.compile(small())
    tokens, labels = batch(9)
    loss, saved = model.loss(tokens, labels)
    logits, forward_saved = model.forward(tokens)
    scored = labels >= 0
    shifted = logits - logits.max(axis=-1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=-1, keepdims=True)
    picked = np.take_along_axis(p, np.maximum(labels, 0)[..., None], -1)[..., 0][scored]
    assert loss.value == pytest.approx(-np.log(picked).mean(), rel=1e-12)
    one_hot = np.eye(VOCAB)[np.maximum(labels, 0)]
    dlogits = np.where(scored[..., None], p - one_hot, 0) / scored.sum()
    expected = model.backward(forward_saved, dlogits)
    for name, gradient in model.loss_backward(saved).items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-9, atol=1e-14)


GATED = {"mixer": "parallel", "window": 3, "join": "gate"}
STREAMS = [
    ("gated_delta", {}),
    ("gated_delta", {"blocks": [{"mixer": "parallel", "window": 3}, "memory"]}),
    ("linear", {"blocks": [GATED, "attention"]}),
    ("retention", {"conv": 0}),
    ("mamba2", {}),
    ("rwkv7", {}),
    ("mlstm", {}),
]


@given(cuts=st.sets(st.integers(1, 12)), network=st.sampled_from(STREAMS))
def test_session_equals_forward_however_it_is_fed(
    cuts: set[int], network: tuple[str, dict[str, Any]]
) -> None:
    kind, sizes = network
    model = mcore.compile(small(kind, **sizes))
    for name, value in model.params.items():
        if "join" in name:
            value[...] = np.random.default_rng(0).standard_normal(value.shape)
    tokens, _ = batch(13)
    whole, _ = model.forward(tokens)
    session = model.session()
    ends = [*sorted(cuts), 13]
    pieces = [session.feed(tokens[:, a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, rtol=1e-11, atol=1e-12)


def test_causality() -> None:
    model = mcore.compile(small(blocks=[{"mixer": "parallel"}, "memory"]))
    tokens, _ = batch(13)
    before, _ = model.forward(tokens)
    changed = tokens.copy()
    changed[:, 8:] = (changed[:, 8:] + 1) % VOCAB
    after, _ = model.forward(changed)
    np.testing.assert_array_equal(before[:, :8], after[:, :8])
    assert not np.array_equal(before[:, 8:], after[:, 8:])


def test_session_goes_on_from_a_file(tmp_path: Path) -> None:
    model = mcore.compile(small())
    tokens, _ = batch(13)
    whole, _ = model.forward(tokens)
    session = model.session()
    session.feed(tokens[0, :6])
    session.save(tmp_path / "stream.safetensors")
    restored = model.session()
    restored.restore(tmp_path / "stream.safetensors")
    np.testing.assert_allclose(restored.feed(tokens[0, 6:]), whole[0, 6:], rtol=1e-11, atol=1e-12)


def test_session_refuses_the_stream_of_another_model(tmp_path: Path) -> None:
    session = mcore.compile(small()).session()
    session.feed(np.array([1, 2]))
    session.save(tmp_path / "stream.safetensors")
    other = mcore.compile(small("delta")).session()
    with pytest.raises(mcore.SnapshotError, match="not a stream through this model"):
        other.restore(tmp_path / "stream.safetensors")


def test_a_saved_model_loads_to_the_same_numbers(tmp_path: Path) -> None:
    model = mcore.compile(small())
    model.params["final.weight"][...] = 2.0
    model.save(tmp_path / "model.safetensors")
    loaded = mcore.load(tmp_path / "model.safetensors")
    tokens, _ = batch(5)
    np.testing.assert_array_equal(loaded.forward(tokens)[0], model.forward(tokens)[0])


def test_parameters_are_a_function_of_the_seed() -> None:
    first, again = mcore.compile(small()), mcore.compile(small())
    other = mcore.compile(small() | {"train": {"seed": 1}})
    assert all(np.array_equal(x, again.params[name]) for name, x in first.params.items())
    assert not np.array_equal(first.params["embedding.weight"], other.params["embedding.weight"])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((2, 0), int), "T at least 1"),
        (np.zeros(3, int), r"expected \(B, T\)"),
        (np.zeros((1, 3)), "integers"),
        (np.full((1, 3), VOCAB), "20"),
    ],
)
def test_wrong_tokens_are_named(tokens: Array, message: str) -> None:
    with pytest.raises(mcore.McoreError, match=message):
        mcore.compile(small()).forward(tokens)


def test_a_gated_join_starts_as_the_mean_of_both_answers() -> None:
    blocks = [{"mixer": "parallel"}, "memory"]
    added = mcore.compile(small(blocks=blocks))
    gated = mcore.compile(small(blocks=[{**GATED, "window": 16}, "memory"]))
    assert {n: x.shape for n, x in gated.params.items() if ".join." in n} == {
        "blocks.0.mixer.join.weight": (12, 12),
        "blocks.0.mixer.join.bias": (12,),
    }
    for part in ("memory", "attention"):
        name = f"blocks.0.mixer.{part}.out.weight"
        gated.params[name][...] = 2 * added.params[name]
    for name, value in added.params.items():
        if not name.startswith("blocks.0.mixer.") or not name.endswith("out.weight"):
            gated.params[name][...] = value
    tokens, _ = batch(9)
    np.testing.assert_allclose(
        gated.forward(tokens)[0], added.forward(tokens)[0], rtol=1e-10, atol=1e-12
    )


def test_biases_do_not_decay() -> None:
    model = mcore.compile(small("gru"))
    biases = {name for name in model.params if name.endswith(("x.bias", "recurrent_bias"))}
    assert len(biases) == 4
    assert biases <= model.no_decay
    assert "blocks.0.mixer.recurrent" in set(model.params) - model.no_decay
