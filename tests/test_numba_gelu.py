"""GELU of a row and its derivatives against the error function of the standard library."""

import math
from typing import Any

import numba
import numpy as np
import pytest

from mcore.backends.numba_cpu.gelu_vector import gelu_curvature, gelu_slope, gelu_value, normal

DTYPES = ("float32", "float64")
INPUTS = np.concatenate(
    [np.linspace(-45, 45, 20_001), np.linspace(-6, 6, 20_001), [0.0, -0.0, 1e-30, -1e-30]]
)


@numba.njit  # type: ignore[untyped-decorator]
def map_value(x: Any, value: Any) -> None:
    gelu_value(x, value)


@numba.njit  # type: ignore[untyped-decorator]
def map_slope(x: Any, value: Any, slope: Any) -> None:
    gelu_slope(x, value, slope)


@numba.njit  # type: ignore[untyped-decorator]
def map_curvature(x: Any, value: Any, slope: Any, curvature: Any) -> None:
    gelu_curvature(x, value, slope, curvature)


def exact(x: Any) -> Any:
    """Value, slope and curvature in float64, and their scale."""
    below = np.array([0.5 * math.erfc(-t * math.sqrt(0.5)) for t in x])
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return x * below, below + x * density, density * (2 - x * x)


def worst(got: Any, want: Any) -> float:
    """Largest error in units of the type's rounding, of the number or of 1."""
    errors = np.abs(got - want) / np.maximum(np.abs(want), 1)
    return float(errors.max() / np.finfo(got.dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_value_slope_and_curvature(dtype: str) -> None:
    x = INPUTS.astype(dtype)
    value, slope, curvature = (np.empty_like(x) for _ in range(3))
    map_curvature(x, value, slope, curvature)
    want = exact(x.astype(np.float64))
    assert max(worst(*pair) for pair in zip((value, slope, curvature), want, strict=True)) < 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_functions_say_the_same(dtype: str) -> None:
    x = INPUTS[::97].astype(dtype)
    arrays = [np.empty_like(x) for _ in range(6)]
    map_curvature(x, *arrays[:3])
    map_slope(x, *arrays[3:5])
    map_value(x, arrays[5])
    for one, other in ((0, 3), (1, 4), (0, 5)):
        assert worst(arrays[one], arrays[other]) <= 1
    map_value(x, x)
    np.testing.assert_array_equal(x, arrays[5])


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-5), ("float64", 1e-13)])
def test_the_negative_side_keeps_its_digits(dtype: str, limit: float) -> None:
    x = np.linspace(-8, -1, 1001).astype(dtype)
    value = np.empty_like(x)
    map_value(x, value)
    np.testing.assert_allclose(value, exact(x.astype(np.float64))[0], rtol=limit)


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_away(dtype: str) -> None:
    x = np.array([1e30, -1e30, np.nan], dtype)
    value, slope = np.empty_like(x), np.empty_like(x)
    map_slope(x, value, slope)
    np.testing.assert_array_equal(value[:2], np.array([1e30, 0], dtype))
    np.testing.assert_array_equal(slope[:2], np.array([1, 0], dtype))
    assert np.isnan(value[2])
    assert np.isnan(slope[2])


def test_outside_kernels_it_is_the_same_pair() -> None:
    below, density = normal(-1.0)
    assert below == pytest.approx(0.15865525393145707, rel=1e-15)
    assert density == pytest.approx(0.24197072451914337, rel=1e-15)
