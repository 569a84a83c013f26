"""Every pair: finite differences, float32, awkward arrays, extreme values, nothing written."""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.layers.activations import (
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softplus,
    softplus_backward,
)
from mcore.layers.bypass import bonus, bonus_backward, scaled, scaled_backward
from mcore.layers.conv import short_conv, short_conv_backward
from mcore.layers.embedding import embedding, embedding_backward
from mcore.layers.gated import blend, blend_backward, gated, gated_backward
from mcore.layers.gated_norm import gated_rms_norm, gated_rms_norm_backward
from mcore.layers.gates import decay_gate, decay_gate_backward
from mcore.layers.held import held, held_backward
from mcore.layers.linear import linear, linear_backward
from mcore.layers.loss import head_loss, head_loss_backward
from mcore.layers.mlp import swiglu, swiglu_backward
from mcore.layers.norm import rms_norm, rms_norm_backward, unit_norm, unit_norm_backward
from mcore.layers.removal import (
    removal_key,
    removal_key_backward,
    replacement_key,
    replacement_key_backward,
)
from mcore.layers.rope import rotary, rotary_backward
from mcore.layers.shift import token_shift, token_shift_backward
from mcore.testing.gradcheck import check_pair

B, H, D, K, VOCAB = 2, 3, 6, 5, 11
T = -1
LENGTHS = (1, 2, 5)
Arguments = dict[str, Any]


class Case(NamedTuple):
    """A pair, and the shapes of its arguments, where T = -1 stands for the number of tokens."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    shapes: dict[str, tuple[int, ...]]
    rest: Callable[[int], Arguments] = lambda length: {}

    def arguments(self, length: int, scale: float = 1.0, dtype: str = "float64") -> Arguments:
        rng = np.random.default_rng(length)
        floats = {
            name: (scale if name == "x" else 1.0)
            * rng.standard_normal([length if size == T else size for size in shape])
            for name, shape in self.shapes.items()
        }
        rest = self.rest(length)
        return rest | {name: value.astype(dtype) for name, value in floats.items()}


def tokens(length: int) -> Arguments:
    return {"tokens": np.random.default_rng(0).integers(0, VOCAB, (B, length))}


def lookup(tokens: Array, x: Array) -> tuple[Array, Any]:
    return embedding(tokens, x)


def rotate(start: int, x: Array) -> tuple[Array, Any]:
    return rotary(x, start)


def loss_value(labels: Array, x: Array, weight: Array) -> tuple[Array, Any]:
    loss, saved = head_loss(x, weight, labels)
    return np.array(loss.value), saved


def loss_backward(saved: Any, dy: Array) -> tuple[Array, Array]:
    return head_loss_backward(saved, float(dy))


def labels(length: int) -> Arguments:
    found = np.random.default_rng(0).integers(0, VOCAB, (B, length))
    found[0, 1:] = -1
    return {"labels": found}


CASES = {
    "linear": Case(linear, linear_backward, {"x": (B, T, D), "weight": (D, K)}),
    "embedding": Case(lookup, embedding_backward, {"x": (VOCAB, D)}, tokens),
    "rms_norm": Case(rms_norm, rms_norm_backward, {"x": (B, T, H, D), "weight": (D,)}),
    "unit_norm": Case(unit_norm, unit_norm_backward, {"x": (B, T, H, D)}),
    "conv": Case(
        short_conv, short_conv_backward, {"x": (B, T, D), "weight": (D, 4), "tail": (B, 3, D)}
    ),
    "conv of width 1": Case(
        short_conv, short_conv_backward, {"x": (B, T, D), "weight": (D, 1), "tail": (B, 0, D)}
    ),
    "sigmoid": Case(sigmoid, sigmoid_backward, {"x": (B, T, H, D)}),
    "silu": Case(silu, silu_backward, {"x": (B, T, H, D)}),
    "softplus": Case(softplus, softplus_backward, {"x": (B, T, H)}),
    "decay_gate": Case(
        decay_gate, decay_gate_backward, {"x": (B, T, H), "a_log": (H,), "dt_bias": (H,)}
    ),
    "swiglu": Case(
        swiglu,
        swiglu_backward,
        {"x": (B, T, D), "w_gate": (D, K), "w_up": (D, K), "w_down": (K, D)},
    ),
    "gated_rms_norm": Case(
        gated_rms_norm,
        gated_rms_norm_backward,
        {"x": (B, T, H, D), "gate": (B, T, H, D), "weight": (D,)},
    ),
    "gated": Case(gated, gated_backward, {"y": (B, T, H, D), "x": (B, T, H, D)}),
    "blend": Case(blend, blend_backward, {"first": (B, T, D), "second": (B, T, D), "x": (B, T, D)}),
    "token_shift": Case(
        token_shift, token_shift_backward, {"x": (B, T, D), "mix": (3, D), "last": (B, 1, D)}
    ),
    "held": Case(held, held_backward, {"x": (B, T, H, D), "log_decay": (B, T, H), "a_log": (H,)}),
    "scaled": Case(scaled, scaled_backward, {"x": (B, T, H, D), "weight": (H,)}),
    "bonus": Case(
        bonus,
        bonus_backward,
        {"q": (B, T, H, K), "k": (B, T, H, K), "x": (B, T, H, D), "weight": (H * K,)},
    ),
    "removal_key": Case(removal_key, removal_key_backward, {"x": (B, T, H, K), "weight": (H * K,)}),
    "replacement_key": Case(
        replacement_key,
        replacement_key_backward,
        {"x": (B, T, H, K), "a": (B, T, H, K), "weight": (H * K,)},
    ),
    "rotary": Case(rotate, rotary_backward, {"x": (B, T, H, D)}, lambda length: {"start": 3}),
    "rotary of odd K": Case(
        rotate, rotary_backward, {"x": (B, T, H, K)}, lambda length: {"start": 0}
    ),
    "rotary of K = 1": Case(
        rotate, rotary_backward, {"x": (B, T, H, 1)}, lambda length: {"start": 0}
    ),
    "head_loss": Case(loss_value, loss_backward, {"x": (B, T, D), "weight": (D, VOCAB)}, labels),
}


def as_tuple(found: Any) -> tuple[Array, ...]:
    return found if isinstance(found, tuple) else (found,)


def run(case: Case, arguments: Arguments) -> tuple[Array, ...]:
    """Outputs, then gradients, for fixed random gradients of the outputs."""
    outputs, saved = case.forward(*arguments.values())
    rng = np.random.default_rng(7)
    dys = [np.asarray(rng.standard_normal(y.shape), y.dtype) for y in as_tuple(outputs)]
    return (*as_tuple(outputs), *as_tuple(case.backward(saved, *dys)))


def assert_same(found: tuple[Array, ...], wanted: tuple[Array, ...], error: float) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(
            one, other, rtol=0, atol=error * (1 + np.abs(other).max(initial=0))
        )


each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_length = pytest.mark.parametrize("length", LENGTHS)


@each_case
@each_length
def test_backward_is_the_derivative(case: Case, length: int) -> None:
    check_pair(case.forward, case.backward, case.arguments(length), tolerance=1e-8, step=1e-5)


@each_case
@each_length
def test_float32_is_float64_rounded(case: Case, length: int) -> None:
    found = run(case, case.arguments(length, dtype="float32"))
    assert_same(found, run(case, case.arguments(length)), 2e-6)
    outputs = as_tuple(case.forward(*case.arguments(length, dtype="float32").values())[0])
    gradients = found[len(outputs) :]
    assert {gradient.dtype for gradient in gradients} == {np.dtype("float32")}
    if case.forward is not loss_value:
        assert {output.dtype for output in outputs} == {np.dtype("float32")}


def awkward(value: Any) -> Any:
    """The same numbers, read-only and with a stride on every axis."""
    if not isinstance(value, np.ndarray) or not value.ndim:
        return value
    wide = np.full([2 * size for size in value.shape], 99, value.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in value.shape)]
    view[...] = value
    view.flags.writeable = False
    return view


@each_case
@each_length
def test_layout_does_not_matter(case: Case, length: int) -> None:
    plain = case.arguments(length)
    strided = {name: awkward(value) for name, value in plain.items()}
    assert_same(run(case, strided), run(case, plain), 1e-13)


@each_case
def test_strided_read_only_gradient(case: Case) -> None:
    outputs, saved = case.forward(*case.arguments(5).values())
    dys = [np.random.default_rng(7).standard_normal(y.shape) for y in as_tuple(outputs)]
    wanted = as_tuple(case.backward(saved, *dys))
    assert_same(as_tuple(case.backward(saved, *map(awkward, dys))), wanted, 1e-13)


@each_case
def test_nothing_is_written_to(case: Case) -> None:
    arguments = case.arguments(5)
    before = copy.deepcopy(arguments)
    outputs, saved = case.forward(*arguments.values())
    kept = copy.deepcopy(saved)
    dys = [np.ones_like(y) for y in as_tuple(outputs)]
    first = copy.deepcopy(as_tuple(case.backward(saved, *dys)))
    assert_same(as_tuple(case.backward(saved, *dys)), first, 0.0)
    assert_same(as_tuple(case.backward(kept, *dys)), first, 0.0)
    assert all((dy == 1).all() for dy in dys)
    for name, value in before.items():
        np.testing.assert_array_equal(arguments[name], value)


@each_case
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_values_stay_finite(case: Case, dtype: str) -> None:
    arguments = case.arguments(5, dtype=dtype)
    arguments["x"] = np.sign(arguments["x"]) * np.asarray(1e4, dtype)
    arguments["x"].reshape(-1)[0] = 0
    assert all(np.isfinite(found).all() for found in run(case, arguments))


@each_case
def test_zeros_stay_finite(case: Case) -> None:
    arguments = case.arguments(2, scale=0.0, dtype="float32")
    assert all(np.isfinite(found).all() for found in run(case, arguments))
