"""Layers of series: gradients, values, and what is missing."""

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.errors import DataError
from mcore.layers.affine import affine, affine_backward
from mcore.layers.pool import running_mean, running_mean_backward
from mcore.layers.series_loss import (
    Saved,
    ValueCost,
    class_loss,
    series_loss_backward,
    value_loss,
)
from mcore.layers.standardise import standardise
from mcore.testing.gradcheck import check_pair

RNG = np.random.default_rng(0)
B, T, D, OUT = 2, 5, 4, 3


def test_affine() -> None:
    arguments = {
        "x": RNG.standard_normal((B, T, D)),
        "weight": RNG.standard_normal((D, OUT)),
        "bias": RNG.standard_normal(OUT),
    }
    check_pair(affine, affine_backward, arguments)


def test_running_mean() -> None:
    x, before = RNG.standard_normal((B, T, D)), RNG.standard_normal((B, 3, D))

    def forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
        return running_mean(x, before.sum(axis=1), np.full(len(x), 3))

    check_pair(forward, running_mean_backward, {"x": x})
    y, _ = forward(x)
    wanted = [np.concatenate([before, x[:, : t + 1]], axis=1).mean(axis=1) for t in range(T)]
    np.testing.assert_allclose(y, np.stack(wanted, axis=1), rtol=1e-12)


@pytest.mark.parametrize("cost", ["mse", "mae", "huber"])
def test_cost_of_values(cost: ValueCost) -> None:
    labels = 3 * RNG.standard_normal((B, T, OUT))
    labels[0, 1] = labels[1, 2, 0] = np.nan

    def forward(outputs: Array) -> tuple[Array, Saved]:
        loss, saved = value_loss(outputs, labels, cost)
        return np.array(loss.value), saved

    def backward(saved: Saved, dy: Array) -> Array:
        return series_loss_backward(saved, float(dy))

    outputs = RNG.standard_normal((B, T, OUT))
    check_pair(forward, backward, {"outputs": outputs})
    loss, _ = value_loss(outputs, labels, cost)
    error = np.abs(outputs - labels)
    each = {
        "mse": error**2,
        "mae": error,
        "huber": np.where(error <= 1, error**2 / 2, error - 0.5),
    }
    assert loss.value == pytest.approx(np.nanmean(each[cost]), rel=1e-12)
    assert loss.count == B * T * OUT - OUT - 1


def test_cost_of_classes() -> None:
    labels = np.array([[-1, 0, 2, -1, 1], [-1, -1, -1, -1, 2]])

    def forward(logits: Array) -> tuple[Array, Saved]:
        loss, saved = class_loss(logits, labels)
        return np.array(loss.value), saved

    def backward(saved: Saved, dy: Array) -> Array:
        return series_loss_backward(saved, float(dy))

    logits = RNG.standard_normal((B, T, OUT))
    check_pair(forward, backward, {"logits": logits})
    loss, _ = class_loss(logits, labels)
    scored = labels != -1
    p = np.exp(logits[scored]) / np.exp(logits[scored]).sum(axis=1, keepdims=True)
    each = np.arange(scored.sum())
    assert loss.value == pytest.approx(-np.log(p[each, labels[scored]]).mean(), rel=1e-12)
    assert loss[1:] == (4, (p.argmax(axis=1) == labels[scored]).sum())
    large, _ = class_loss(1e4 * logits, labels)
    assert np.isfinite(large.value)


def test_without_a_label_nothing_is_lost() -> None:
    for loss, saved in (
        value_loss(RNG.standard_normal((B, T, OUT)), np.full((B, T, OUT), np.nan), "mse"),
        class_loss(RNG.standard_normal((B, T, OUT)), np.full((B, T), -1)),
    ):
        assert loss == (0.0, 0, 0)
        assert not series_loss_backward(saved).any()


def test_what_is_not_finite_reaches_the_value() -> None:
    outputs = np.full((1, 2, OUT), np.inf)
    assert not np.isfinite(value_loss(outputs, np.zeros((1, 2, OUT)), "mse")[0].value)
    assert not np.isfinite(class_loss(outputs, np.zeros((1, 2), int))[0].value)


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(DataError, match=f"label {OUT} is outside"):
        class_loss(np.zeros((B, T, OUT)), np.full((B, T), OUT))


def test_what_is_missing_counts_as_the_mean() -> None:
    x = np.array([[[1.0, np.nan], [3.0, 8.0]]])
    z = standardise(x, np.array([1.0, 4.0]), np.array([2.0, 4.0]), "float32")
    np.testing.assert_array_equal(z, np.array([[[0, 0], [1, 1]]], "float32"))
    assert z.dtype == np.float32


def test_a_large_mean_costs_no_digits() -> None:
    x = 1e9 + np.array([[[0.25], [0.5]]])
    z = standardise(x, np.array([1e9]), np.array([1.0]), "float32")
    np.testing.assert_array_equal(z[0, :, 0], np.array([0.25, 0.5], "float32"))
