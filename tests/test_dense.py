"""Dense pairs of every backend on the host: finite differences, the plain formulation's answers.

Columns of a wider array, read-only arrays, both dtypes, one token and blocks with a rest; the same
bits however many threads there are, and wherever a stream is cut.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from harness import BACKENDS
from tolerances import tolerance

from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.layers.dense import PLAIN, Dense, Pair, dense_of
from mcore.layers.feature import Filter, Form
from mcore.testing.gradcheck import check_pair

B, H, V, E = 2, 3, 5, 7
WIDE = H * V
Arguments = dict[str, Array]
FORMS = {
    "keys": (Form(H, True, True, 0.5), 4),
    "values": (Form(H, True, False, 1.0), 4),
    "plain": (Form(H, False, False, 1.0), 4),
    "two taps": (Form(H, False, True, 1.0), 2),
    "no taps": (Form(H, True, True, 0.5), 0),
    "as it is": (Form(H, False, False, 1.0), 0),
}


class Case(NamedTuple):
    """A pair over arrays alone, and its arguments for so many tokens."""

    pair: Callable[[Dense], Pair]
    arguments: Callable[[int], Arguments]


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def columns(seed: int, *shape: int) -> Array:
    """(B, T, ...): columns of a wider array."""
    rows, tokens, *rest = shape
    width = int(np.prod(rest))
    return normal(seed, rows, tokens, width + 3)[..., 2 : 2 + width].reshape(shape)


def named(name: str) -> Callable[[Dense], Pair]:
    def pair(dense: Dense) -> Pair:
        found: Pair = getattr(dense, name)
        return found

    return pair


def normed_beside(dense: Dense) -> Pair:
    """`x + rms_norm(x)`, whose backward adds what goes past."""

    def forward(x: Array, weight: Array) -> tuple[Array, Any]:
        y, saved = dense.rms_norm.forward(x, weight)
        return x + y, saved

    def backward(saved: Any, dy: Array) -> Any:
        return dense.rms_norm.backward(saved, dy, dy)

    return Pair(forward, backward)


def made(form: Form, width: int) -> Callable[[Dense], Pair]:
    """`feature` with its gradient returned instead of written."""

    def pair(dense: Dense) -> Pair:
        def forward(x: Array, weight: Array) -> tuple[Array, Any]:
            tail = normal(9, len(x), width - 1, WIDE).astype(x.dtype) if width else None
            taps = Filter(weight, tail, None) if tail is not None else None
            y, saved = dense.feature.forward(x, form, taps)
            return y, (x, weight, saved)

        def backward(saved: Any, dy: Array) -> tuple[Array, Array]:
            x, weight, kept = saved
            dz = np.full((*x.shape[:2], WIDE + 3), np.nan, x.dtype)
            d_weight, d_bias = dense.feature.backward(kept, dy, dz[..., 2:-1])
            assert d_bias is None and np.isnan(dz[..., [0, 1, -1]]).all()
            return dz[..., 2:-1], np.zeros_like(weight) if d_weight is None else d_weight

        return Pair(forward, backward)

    return pair


CASES = {
    "rms_norm": Case(
        named("rms_norm"), lambda t: {"x": columns(0, B, t, WIDE), "weight": normal(1, WIDE)}
    ),
    "rms_norm and what goes past it": Case(
        normed_beside, lambda t: {"x": columns(0, B, t, WIDE), "weight": normal(1, WIDE)}
    ),
    "gated_rms_norm": Case(
        named("gated_rms_norm"),
        lambda t: {"y": normal(0, B, t, H, V), "gate": columns(1, B, t, H, V), "w": normal(2, V)},
    ),
    "swiglu": Case(
        named("swiglu"),
        lambda t: {
            "x": normal(0, B, t, V),
            "gate": normal(1, V, E),
            "up": normal(2, V, E),
            "down": normal(3, E, V),
        },
    ),
    **{
        f"feature, {name}": Case(
            made(form, width),
            lambda t, width=width: {"x": columns(0, B, t, WIDE), "weight": normal(1, WIDE, width)},  # type: ignore[misc]
        )
        for name, (form, width) in FORMS.items()
    },
}
every_case = pytest.mark.parametrize("name", CASES)
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def run(pair: Pair, arguments: Arguments) -> list[Array]:
    """The output and all gradients, the output's gradient being random."""
    y, saved = pair.forward(*arguments.values())
    dy = normal(7, *y.shape).astype(y.dtype)
    return [y, *pair.backward(saved, dy)]


def assert_close(found: list[Array], wanted: list[Array], dtype: str) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.dtype == dtype and mine.shape == theirs.shape
        largest = max(float(np.abs(theirs).max(initial=0)), 1e-30)
        assert float(np.abs(mine - theirs).max(initial=0)) <= tolerance(dtype, "same") * largest


@every_case
@every_backend
@pytest.mark.parametrize("tokens", [1, 2, 21])
def test_finite_differences(name: str, backend: str, tokens: int) -> None:
    case = CASES[name]
    pair = case.pair(dense_of(get_backend(backend)))
    check_pair(pair.forward, pair.backward, case.arguments(tokens))


@every_case
@every_backend
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_is_the_plain_formulation(name: str, backend: str, dtype: str) -> None:
    case = CASES[name]
    for tokens in (1, 3, 67, 200):
        given = {n: x.astype(dtype) for n, x in case.arguments(tokens).items()}
        for x in given.values():
            x.flags.writeable = False
        mine, plain = case.pair(dense_of(get_backend(backend))), case.pair(PLAIN)
        assert_close(run(mine, given), run(plain, given), dtype)


@every_case
def test_bits_do_not_depend_on_threads(name: str) -> None:
    case = CASES[name]
    given = {n: x.astype("float32") for n, x in case.arguments(2000).items()}
    alone, shared = (run(case.pair(dense_of(get_backend("numba", n))), given) for n in (1, 2))
    for first, second in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(first, second)


@every_backend
def test_a_stream_gets_the_same_bits(backend: str) -> None:
    feature, (form, width) = dense_of(get_backend(backend)).feature, FORMS["keys"]
    x, weight = columns(0, B, 30, WIDE).astype("float32"), normal(1, WIDE, width).astype("float32")
    tail = np.zeros((B, width - 1, WIDE), "float32")
    whole, _ = feature.forward(x, form, Filter(weight, tail, None))
    pieces = []
    for begin, end in ((0, 1), (1, 8), (8, 30)):
        before = np.concatenate([tail, x], axis=1)[:, begin : begin + width - 1]
        y, _ = feature.forward(x[:, begin:end], form, Filter(weight, before, None))
        pieces.append(y)
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


@every_backend
def test_reach_and_bias(backend: str) -> None:
    """What kernels leave to the plain formulation comes out of it."""
    dense, (form, width) = dense_of(get_backend(backend)), FORMS["keys"]
    x, tail = columns(0, B, 9, WIDE), normal(2, B, width - 1, WIDE)
    reach = np.minimum(np.arange(9) % 4, width - 1) * np.ones((B, 1), int)
    taps, bias = Filter(normal(1, WIDE, width), tail, reach), normal(3, WIDE)
    answers: list[list[Array]] = []
    for pair in (dense.feature, PLAIN.feature):
        y, saved = pair.forward(x, form, taps, bias)
        dx = np.empty(x.shape)
        answers.append([y, dx, *pair.backward(saved, normal(7, *y.shape), dx)])
    found, wanted = answers
    assert_close(found, wanted, "float64")


def test_a_backend_need_not_bring_any() -> None:
    assert dense_of(object()) is PLAIN
