"""The small matrix product and the transpose, emitted and portable, against NumPy."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from mcore.backends.numba_cpu.gemm import (
    FULL,
    LOWER,
    LOWER_OUT,
    LOWER_TRANSPOSED,
    gemm,
    transpose,
)

DTYPES = ("float32", "float64")
# Around the tile heights and the lanes of every vector unit, and beyond them.
SIZES = (1, 3, 8, 15, 17, 33, 70)


@numba.njit  # type: ignore[untyped-decorator]
def multiply(a: Any, b: Any, c: Any, w: Any, add: Any, mode: Any) -> None:
    gemm(a, b, c, w, add, mode)


@numba.njit  # type: ignore[untyped-decorator]
def flip(a: Any, b: Any) -> None:
    transpose(a, b)


def framed(rng: np.random.Generator, shape: tuple[int, int], dtype: str, poison: bool) -> Any:
    """A matrix inside a frame of NaN: its neighbours must neither be read nor written."""
    frame = np.full((shape[0] + 2, shape[1] + 3), np.nan, dtype)
    if not poison:
        frame[1:-1, 1:-2] = rng.standard_normal(shape)
    return frame, frame[1:-1, 1:-2]


def check_product(shape: tuple[int, int, int], dtype: str, rng: np.random.Generator) -> None:
    rows, depth, columns = shape
    _, a = framed(rng, (rows, depth), dtype, poison=False)
    _, b = framed(rng, (depth, columns), dtype, poison=False)
    _, by_columns = framed(rng, (depth, rows), dtype, poison=False)
    by_columns[:] = a.T
    w = rng.standard_normal(2 * rows).astype(dtype)[::2]
    one = np.ones(2 * rows, dtype)[::2]
    exact = a.astype(np.float64) @ b
    for add, weight, transposed in product((0, 1), (w, one), (False, True)):
        frame, c = framed(rng, (rows, columns), dtype, poison=not add)
        expected = (weight * exact.T).T + (c if add else 0)
        multiply(by_columns.T if transposed else a, b, c, weight, add, FULL)
        scale = 20 * np.finfo(dtype).eps * (1 + np.abs(a) @ np.abs(b)).max() * 3
        np.testing.assert_allclose(c, expected, rtol=0, atol=scale)
        assert np.isfinite(frame).sum() == c.size


def check_triangles(size: int, columns: int, dtype: str, rng: np.random.Generator) -> None:
    _, full = framed(rng, (size, size), dtype, poison=False)
    _, b = framed(rng, (size, columns), dtype, poison=False)
    _, lower = framed(rng, (size, size), dtype, poison=False)
    lower[:] = np.tril(full)
    near = float(1000 * np.finfo(dtype).eps)
    _, c = framed(rng, (size, columns), dtype, poison=True)
    one = np.ones(2 * size, dtype)[::2]
    multiply(lower, b, c, one, 0, LOWER)
    np.testing.assert_allclose(c, lower @ b, rtol=0, atol=near)
    multiply(lower.T, b, c, -one, 1, LOWER_TRANSPOSED)
    np.testing.assert_allclose(c, lower @ b - lower.T @ b, rtol=0, atol=near)
    _, out = framed(rng, (size, size), dtype, poison=True)
    multiply(full, full, out, one, 0, LOWER_OUT)
    np.testing.assert_allclose(np.tril(out), np.tril(full @ full), rtol=0, atol=near)


def check_transpose(rows: int, columns: int, dtype: str, rng: np.random.Generator) -> None:
    _, a = framed(rng, (rows, columns), dtype, poison=False)
    frame, b = framed(rng, (columns, rows), dtype, poison=True)
    flip(a, b)
    np.testing.assert_array_equal(b, a.T)
    assert np.isfinite(frame).sum() == b.size


def check_all(sizes: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    for rows, depth, columns in product(sizes, (1, 2, 7, 16), sizes):
        check_product((rows, depth, columns), dtype, rng)
    for size, columns in product(sizes, (1, 8, 24)):
        check_triangles(size, columns, dtype, rng)
        check_transpose(size, columns, dtype, rng)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_and_transposes(dtype: str) -> None:
    check_all(SIZES, dtype)


@pytest.mark.parametrize("environment", [{"MCORE_PORTABLE_KERNELS": "1"}, {"AVX2": "1"}])
def test_other_kernels_of_this_host(environment: dict[str, str]) -> None:
    """The portable loops, and the tiles of a narrower vector unit, in a process of their own."""
    if "AVX2" in environment and os.uname().machine == "x86_64":
        environment = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    env = {**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, __file__]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_mixed_element_types_are_refused() -> None:
    a, b = np.ones((2, 2), np.float32), np.ones((2, 2))
    with pytest.raises(numba.TypingError, match="element types differ"):
        multiply(a, b, b.copy(), 1.0, 0, FULL)


if __name__ == "__main__":
    for name in DTYPES:
        check_all((1, 3, 8, 17), name)
