"""Vectorised exponentials, softmax rows, and triangular solves against NumPy."""

from typing import Any

import numba
import numpy as np
import pytest

from mcore.backends.numba_cpu.elementwise import exp, log_sigmoid, sigmoid, softmax_row, tanh
from mcore.backends.numba_cpu.solve import solve_lower, solve_lower_transposed

DTYPES = ("float32", "float64")


@numba.njit  # type: ignore[untyped-decorator]
def map_exp(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = exp(x[i])


@numba.njit  # type: ignore[untyped-decorator]
def map_sigmoid(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = sigmoid(x[i])


@numba.njit  # type: ignore[untyped-decorator]
def map_tanh(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = tanh(x[i])


@numba.njit  # type: ignore[untyped-decorator]
def map_log_sigmoid(x: Any, y: Any) -> None:
    for i in range(x.size):
        y[i] = log_sigmoid(x[i])


@numba.njit  # type: ignore[untyped-decorator]
def normalize(logits: Any, online: Any) -> Any:
    return softmax_row(logits, online)


@numba.njit  # type: ignore[untyped-decorator]
def solve(lower: Any, x: Any, transposed: bool) -> None:
    if transposed:
        solve_lower_transposed(lower, x)
    else:
        solve_lower(lower, x)


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", -87, 88), ("float64", -700, 709)])
def test_exp_is_right_to_two_units_in_the_last_place(dtype: str, low: float, high: float) -> None:
    x = np.linspace(low, high, 200_001).astype(dtype)
    y = np.empty_like(x)
    map_exp(x, y)
    exact = np.exp(x.astype(np.longdouble))
    assert (np.abs(y - exact) / np.spacing(exact.astype(dtype))).max() < 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_at_the_ends(dtype: str) -> None:
    x = np.array([-np.inf, -1e30, -800, 0, 1e5, np.inf, np.nan], dtype)
    y = np.empty_like(x)
    map_exp(x, y)
    np.testing.assert_array_equal(y, np.array([0, 0, 0, 1, np.inf, np.inf, np.nan], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tanh(dtype: str) -> None:
    x = np.append(np.linspace(-30, 30, 1001), [-1e30, 1e30, -np.inf, np.inf]).astype(dtype)
    y = np.empty_like(x)
    map_tanh(x, y)
    assert np.abs(y - np.tanh(x.astype(np.float64))).max() < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_sigmoid(dtype: str) -> None:
    x = np.append(np.linspace(-30, 30, 1001), [-1e30, 1e30, 80, -80]).astype(dtype)
    y = np.empty_like(x)
    map_log_sigmoid(x, y)
    exact = -np.logaddexp(0, -x.astype(np.longdouble))
    assert (np.abs(y - exact) <= 4 * np.finfo(dtype).eps * np.abs(exact)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid(dtype: str) -> None:
    x = np.linspace(-30, 30, 1001).astype(dtype)
    y = np.empty_like(x)
    map_sigmoid(x, y)
    np.testing.assert_allclose(
        y, 1 / (1 + np.exp(-x.astype(np.float64))), float(4 * np.finfo(dtype).eps)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 37])
def test_softmax_row(dtype: str, count: int) -> None:
    rng = np.random.default_rng(0)
    logits = (30 * rng.standard_normal(count + 1)).astype(dtype)
    shares = np.exp(logits.astype(np.float64) - logits.max())
    shares /= shares.sum()
    row = logits[:-1].copy()
    online = normalize(row, logits[-1])
    np.testing.assert_allclose([*row, online], shares, rtol=0, atol=float(8 * np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transposed", [False, True])
def test_triangular_solves_read_only_the_strict_lower_triangle(
    dtype: str, transposed: bool
) -> None:
    rng = np.random.default_rng(0)
    for size in (1, 2, 4, 5, 8, 11, 64):
        for columns in (1, 8, 19):
            lower = (0.2 * rng.standard_normal((size, size))).astype(dtype)
            matrix = np.eye(size) + np.tril(lower, -1)
            lower[np.triu_indices(size)] = np.nan
            right = rng.standard_normal((size, columns)).astype(dtype)
            x = right.copy()
            solve(lower, x, transposed)
            exact = np.linalg.solve(matrix.T if transposed else matrix, right.astype(np.float64))
            np.testing.assert_allclose(
                x, exact, 0, 1000 * np.finfo(dtype).eps * np.abs(exact).max()
            )
