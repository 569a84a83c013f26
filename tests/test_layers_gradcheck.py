"""The gradient check itself: it accepts what is right, and finds what is wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.testing.gradcheck import check_inputs, check_pair

ARGUMENTS = {
    "x": np.random.default_rng(0).standard_normal((4, 3)),
    "weight": np.random.default_rng(1).standard_normal((3, 2)),
}
Saved = tuple[Array, Array]


def forward(x: Array, weight: Array) -> tuple[Array, Saved]:
    return np.tanh(x @ weight), (x, weight)


def backward(saved: Saved, dy: Array) -> tuple[Array, Array]:
    x, weight = saved
    dz = dy * (1 - np.tanh(x @ weight) ** 2)
    return dz @ weight.T, x.T @ dz


def test_accepts_the_derivative() -> None:
    errors = check_pair(forward, backward, ARGUMENTS)
    assert list(errors) == ["x", "weight"]
    assert max(errors.values()) < 1e-8


def wrong_sign(saved: Saved, dy: Array) -> tuple[Array, Array]:
    dx, dweight = backward(saved, dy)
    return dx, -dweight


def first_row_forgotten(saved: Saved, dy: Array) -> tuple[Array, Array]:
    dx, dweight = backward(saved, dy)
    return dx * np.array([[0.0], [1], [1], [1]]), dweight


def nearly_right(saved: Saved, dy: Array) -> tuple[Array, Array]:
    dx, dweight = backward(saved, dy)
    return dx * (1 + 1e-5), dweight


def always_zero(saved: Saved, dy: Array) -> tuple[Array, Array]:
    dx, dweight = backward(saved, dy)
    return dx, 0 * dweight


def not_finite(saved: Saved, dy: Array) -> tuple[Array, Array]:
    dx, dweight = backward(saved, dy)
    return dx * np.nan, dweight


def wrong_shape(saved: Saved, dy: Array) -> tuple[Array, Array]:
    dx, dweight = backward(saved, dy)
    return dx, dweight.T


def writes(saved: Saved, dy: Array) -> tuple[Array, Array]:
    gradients = backward(saved, dy)
    saved[0][...] = 0
    return gradients


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (wrong_sign, "gradient of weight: relative error .*backward / central difference"),
        (first_row_forgotten, "gradient of x: relative error"),
        (nearly_right, "gradient of x: relative error .*e-06, allowed 1e-06"),
        (always_zero, "gradient of weight: relative error 1.00e"),
        (not_finite, "gradient of x: not finite"),
        (wrong_shape, r"gradient of weight: shape \(2, 3\), the input has \(3, 2\)"),
        (writes, "x: forward or backward wrote to its input"),
    ],
)
def test_finds_mistakes(wrong: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_pair(forward, wrong, ARGUMENTS)


def test_dict_of_inputs_and_several_outputs() -> None:
    def both(inputs: Mapping[str, Array]) -> tuple[tuple[Array, Array], Mapping[str, Array]]:
        return (inputs["a"] * inputs["b"], inputs["a"].sum(0)), inputs

    def both_backward(saved: Mapping[str, Array], dy: Array, d_sum: Array) -> dict[str, Array]:
        return {"b": dy * saved["a"], "a": dy * saved["b"] + d_sum}

    inputs = {"a": np.ones((2, 3)), "ids": np.arange(2), "b": np.full((2, 3), 2.0)}
    assert set(check_inputs(both, both_backward, inputs)) == {"a", "b"}
    with pytest.raises(AssertionError, match="gradient of b: backward returned none"):
        check_inputs(both, lambda saved, dy, d_sum: {"a": dy}, inputs)


def test_a_zero_gradient_is_right_where_nothing_depends_on_the_input() -> None:
    def ignore(x: Array, unused: Array) -> tuple[Array, Array]:
        return 1e3 * np.sin(x), x

    def ignore_backward(x: Array, dy: Array) -> tuple[Array, Array]:
        return 1e3 * np.cos(x) * dy, np.zeros(2)

    errors = check_pair(ignore, ignore_backward, {"x": ARGUMENTS["x"], "unused": np.ones(2)})
    assert errors["unused"] == 0.0
