"""What the layers compute, against plain formulas; errors; starting values."""

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.errors import DataError
from mcore.layers import mlp
from mcore.layers.activations import sigmoid, silu, softplus
from mcore.layers.embedding import embedding, embedding_backward
from mcore.layers.gated_norm import gated_rms_norm
from mcore.layers.gates import decay_gate, init_a_log, init_dt_bias
from mcore.layers.init import depthwise, fan_in, normal
from mcore.layers.linear import linear
from mcore.layers.mlp import swiglu, swiglu_backward
from mcore.layers.norm import rms_norm, unit_norm
from mcore.recurrence.retention import fixed_log_decay
from mcore.testing.gradcheck import check_pair

X = np.random.default_rng(0).standard_normal((2, 5, 3, 4))
rng = np.random.default_rng


def test_linear() -> None:
    weight = X[0, :4, 0]
    np.testing.assert_allclose(linear(X, weight)[0], np.einsum("bthi,io->btho", X, weight))


def test_norms() -> None:
    y, _ = rms_norm(X, np.arange(4.0), eps=0.5)
    wanted = X / np.sqrt((X**2).mean(-1, keepdims=True) + 0.5) * np.arange(4.0)
    np.testing.assert_allclose(y, wanted)
    y, _ = unit_norm(X, eps=0.5)
    np.testing.assert_allclose(y, X / np.sqrt((X**2).sum(-1, keepdims=True) + 0.5))


def test_activations() -> None:
    logistic = 1 / (1 + np.exp(-X))
    np.testing.assert_allclose(sigmoid(X)[0], logistic)
    np.testing.assert_allclose(silu(X)[0], X * logistic)
    np.testing.assert_allclose(softplus(X)[0], np.log(1 + np.exp(X)))
    np.testing.assert_array_equal(softplus(np.array([-1e4, 1e4]))[0], [0, 1e4])


def test_gated_norm() -> None:
    weight, gate = np.arange(4.0), X[::-1]
    wanted = rms_norm(X, weight)[0] * silu(gate)[0]
    np.testing.assert_allclose(gated_rms_norm(X, gate, weight)[0], wanted)


def test_swiglu() -> None:
    w_gate, w_up, w_down = X[0, :4, 0], X[0, :4, 1], X[1, :4, 0]
    wanted = (silu(X @ w_gate)[0] * (X @ w_up)) @ w_down
    np.testing.assert_allclose(swiglu(X, w_gate, w_up, w_down)[0], wanted)


def test_swiglu_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "TOKENS", 4)
    weights = {"w_gate": X[0, :4, 0], "w_up": X[0, :4, 1], "w_down": X[1, :4, 0]}
    check_pair(swiglu, swiglu_backward, {"x": X, **weights}, tolerance=1e-8, step=1e-5)


def test_decay_gate() -> None:
    x, a_log, dt_bias = X[..., 0], np.array([0.0, 1, 2]), np.array([-1.0, 0, 1])
    wanted = -np.exp(a_log) * np.log(1 + np.exp(x + dt_bias))
    np.testing.assert_allclose(decay_gate(x, a_log, dt_bias)[0], wanted)


def text(kind: str, vocab: int, length: int) -> Array:
    """Tokens: evenly spread, mostly one word, or a single word."""
    draw = rng(0).random(length)
    share = {"even": draw, "skewed": draw**8, "constant": 0 * draw}[kind]
    return (share * vocab).astype(np.int64).reshape(1, -1)


@pytest.mark.parametrize("kind", ["even", "skewed", "constant"])
@pytest.mark.parametrize("vocab", [1, 7, 300])
@pytest.mark.parametrize("length", [0, 1, 8, 9, 1000])
def test_embedding_gradient_sums_rows(kind: str, vocab: int, length: int) -> None:
    tokens = text(kind, vocab, length)
    dy = rng(1).standard_normal((1, length, 3), dtype=np.float32)
    _, saved = embedding(tokens, np.zeros((vocab, 3), np.float32))
    found = embedding_backward(saved, dy)
    wanted = np.zeros((vocab, 3))
    np.add.at(wanted, tokens[0], dy[0].astype(np.float64))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, embedding_backward(saved, dy))


@pytest.mark.parametrize("token", [-1, 7])
def test_token_outside_the_table(token: int) -> None:
    with pytest.raises(DataError, match=rf"token {token} is outside .* expected 0 to 6"):
        embedding(np.array([[3, token]]), np.zeros((7, 2)))


def test_initial_decays() -> None:
    a_log, dt_bias = init_a_log(rng(0), 1000), init_dt_bias(rng(0), 1000, "float64")
    assert a_log.dtype == np.float32
    assert 1 <= np.exp(a_log).min() < 1.1
    assert 15.9 < np.exp(a_log).max() <= 16.0001
    step, _ = softplus(dt_bias)
    assert 1e-3 <= step.min() < 1.1e-3
    assert 0.09 < step.max() <= 0.1
    np.testing.assert_allclose(np.median(np.log(step)), np.log(1e-2), atol=0.2)
    wanted = [1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128]
    np.testing.assert_allclose(np.exp(fixed_log_decay(np.random.default_rng(0), (3,))), wanted)


def test_initial_weights() -> None:
    weight = fan_in(rng(0), (400, 300), "float32", gain=0.5)
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight.std(), 0.5 / 20, rtol=0.01)
    np.testing.assert_allclose(weight, fan_in(rng(0), (400, 300), "float64", 0.5), rtol=1e-6)
    np.testing.assert_allclose(normal(rng(0), (1000, 50), 0.02, "float64").std(), 0.02, rtol=0.01)
    filters = depthwise(rng(0), 500, 4, "float64")
    assert filters.shape == (500, 4)
    assert 0.49 < np.abs(filters).max() <= 0.5
