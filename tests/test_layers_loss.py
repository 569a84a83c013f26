"""Cross-entropy where labelled: values, blocks, large logits, what no label costs."""

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.errors import DataError
from mcore.layers import loss as module
from mcore.layers.loss import Loss, head_loss, head_loss_backward
from mcore.testing.gradcheck import check_pair

B, T, D, VOCAB = 2, 7, 5, 9


def example(seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, VOCAB, (B, T))
    labels[rng.random((B, T)) < 0.4] = -1
    return rng.standard_normal((B, T, D)), rng.standard_normal((D, VOCAB)), labels


def test_value_count_and_hits() -> None:
    hidden, weight, labels = example()
    loss, _ = head_loss(hidden, weight, labels)
    logits = (hidden @ weight)[labels != -1]
    picked = logits[np.arange(len(logits)), labels[labels != -1]]
    wanted = (np.log(np.exp(logits).sum(1)) - picked).mean()
    assert loss.value == pytest.approx(wanted, rel=1e-13)
    assert loss[1:] == (len(logits), (logits.argmax(1) == labels[labels != -1]).sum())


@pytest.mark.parametrize("block", [1, 2 * VOCAB, 3 * VOCAB + 1])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, labels = example()
    wanted, saved = head_loss(hidden, weight, labels)
    gradients = head_loss_backward(saved)
    monkeypatch.setattr(module, "BLOCK", block)
    loss, saved = head_loss(hidden, weight, labels)
    assert saved.probabilities is None
    assert loss.value == pytest.approx(wanted.value, rel=1e-14)
    assert loss[1:] == wanted[1:]
    for found, whole in zip(head_loss_backward(saved), gradients, strict=True):
        np.testing.assert_allclose(found, whole, rtol=0, atol=1e-15)


def test_gradient_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 2 * VOCAB)
    hidden, weight, labels = example()

    def forward(hidden: Array, weight: Array) -> tuple[Array, module.Saved]:
        loss, saved = head_loss(hidden, weight, labels)
        return np.array(loss.value), saved

    def backward(saved: module.Saved, dy: Array) -> tuple[Array, Array]:
        return head_loss_backward(saved, float(dy))

    check_pair(forward, backward, {"hidden": hidden, "weight": weight}, tolerance=1e-8)


def test_tied_embedding() -> None:
    hidden, weight, labels = example()
    table = np.ascontiguousarray(weight.T)
    loss, saved = head_loss(hidden, table.T, labels)
    wanted, untied = head_loss(hidden, weight, labels)
    assert loss.value == pytest.approx(wanted.value, rel=1e-14)
    _, dweight = head_loss_backward(saved)
    np.testing.assert_allclose(dweight, head_loss_backward(untied)[1], rtol=0, atol=1e-15)
    assert dweight.T.flags.c_contiguous


def test_no_label() -> None:
    hidden, weight, labels = example()
    loss, saved = head_loss(hidden, weight, np.full_like(labels, -1))
    assert loss == Loss(0.0, 0, 0)
    d_hidden, dweight = head_loss_backward(saved)
    assert (d_hidden.shape, dweight.shape) == (hidden.shape, weight.shape)
    assert not d_hidden.any()
    assert not dweight.any()


def test_unlabelled_tokens_are_not_read() -> None:
    hidden, weight, labels = example()
    wanted, _ = head_loss(hidden, weight, labels)
    hidden[labels == -1] = np.nan
    loss, saved = head_loss(hidden, weight, labels)
    assert loss == wanted
    assert np.isfinite(head_loss_backward(saved)[0]).all()


def test_a_confident_float32_loss_keeps_its_digits() -> None:
    logits = np.array([[[40.0, 30.0, 0.0]]], np.float32)
    loss, _ = head_loss(logits, np.eye(3, dtype=np.float32), np.array([[0]]))
    assert loss.value == pytest.approx(np.log1p(np.exp(-10)), rel=2e-3)


def test_far_apart_logits_do_not_overflow() -> None:
    logits = np.array([[[1e4, -1e4]]], np.float32)
    loss, saved = head_loss(logits, np.eye(2, dtype=np.float32), np.array([[1]]))
    assert loss == Loss(2e4, 1, 0)
    np.testing.assert_array_equal(head_loss_backward(saved)[0], [[[1, -1]]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_logits_reach_the_value(bad: float) -> None:
    hidden, weight, labels = example()
    labels[0, 0] = 0
    hidden[0, 0, 0] = bad
    loss, saved = head_loss(hidden, weight, labels)
    assert np.isnan(loss.value)
    assert np.isnan(head_loss_backward(saved)[0]).any()


@pytest.mark.parametrize("label", [-2, VOCAB])
def test_label_outside_the_vocabulary(label: int) -> None:
    hidden, weight, labels = example()
    labels[1, 2] = label
    with pytest.raises(DataError, match=rf"label {label} is outside .* expected 0 to 8"):
        head_loss(hidden, weight, labels)
