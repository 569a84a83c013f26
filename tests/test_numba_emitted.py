"""Emitted kernels beside the small product: used-up products and the search for the best."""

from typing import Any

import numba
import numpy as np
import pytest

from mcore.backends.numba_cpu import gemm_portable, select_portable
from mcore.backends.numba_cpu.select import select_best
from mcore.backends.numba_cpu.weigh import weigh

DTYPES = ("float32", "float64")


@numba.njit  # type: ignore[untyped-decorator]
def weigh_all(a: Any, b: Any, q: Any, d: Any, weighted: Any, w: Any, s: Any) -> None:
    weigh(a, b, q, d, weighted, w, s)


@numba.njit  # type: ignore[untyped-decorator]
def weigh_plainly(a: Any, b: Any, q: Any, d: Any, weighted: Any, w: Any, s: Any) -> None:
    gemm_portable.weigh(a, b, q, d, weighted, w, s)


@numba.njit  # type: ignore[untyped-decorator]
def choose(logits: Any, best: Any, columns: Any, bound: Any) -> None:
    select_best(logits, 5, best, columns, bound)


@numba.njit  # type: ignore[untyped-decorator]
def choose_plainly(logits: Any, best: Any, columns: Any) -> None:
    select_portable.select_best(logits, 5, best, columns)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [weigh_all, weigh_plainly])
def test_weigh(function: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for keys, values, tokens in ((1, 1, 1), (3, 5, 7), (8, 16, 16), (13, 9, 33), (64, 64, 50)):
        shapes = [(keys, values), (values, tokens), *[(keys, tokens)] * 2, (tokens,), (tokens,)]
        a, b, q, d, w, s = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        weighted = np.full_like(q, np.nan)
        x = a.astype(np.float64) @ b
        expected = d + w * x, s + (q * x).sum(axis=0), w * q
        function(a, b, q, d, weighted, w, s)
        limit = 100 * np.finfo(dtype).eps * values
        for got, want in zip((d, s, weighted), expected, strict=True):
            np.testing.assert_allclose(got, want, atol=limit * (1 + np.abs(want).max()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("top_k", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("plain", [False, True])
def test_the_best_are_found_ties_to_the_older(dtype: str, top_k: int, plain: bool) -> None:
    rng = np.random.default_rng(top_k)
    for count, tokens in ((0, 3), (1, 1), (3, 17), (30, 64), (41, 33)):
        logits = rng.integers(-3, 4, (count, tokens)).astype(dtype)
        best = np.full((top_k, tokens), np.nan, dtype)
        columns = np.full((top_k, tokens), 99, np.int32)
        if plain:
            choose_plainly(logits, best, columns)
        else:
            bound = np.full(tokens, np.nan, dtype), np.full(tokens, 7, np.int32)
            choose(logits, best, columns, bound)
        order = np.argsort(-logits, axis=0, kind="stable")[:top_k]
        found = len(order)
        assert (columns[:found] == order + 5).all()
        assert (best[:found] == np.take_along_axis(logits, order, axis=0)).all()
        assert (columns[found:] == -1).all()
        assert (best[found:] == -np.inf).all()
