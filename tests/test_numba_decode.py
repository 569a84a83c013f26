"""Checkpoints as codes inside kernels: the same bits as `mcore.cache.compact`, the same answers."""

from typing import Any

import numpy as np
import pytest

from mcore.arrays import Array
from mcore.backends.numba_cpu.caching import kernel
from mcore.backends.numba_cpu.decode_codes import (
    Asked,
    add_answers,
    number,
    store_row,
    viewed,
    write_once,
    write_twice,
)
from mcore.cache import compact, expand

every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_code = pytest.mark.parametrize("code", [None, "float16", "bfloat16", "int8"])


@kernel
def _store(rows: Any, codes: Any, scales: Any, back: Any) -> None:
    for i in range(rows.shape[0]):
        scales[i] = store_row(rows[i], codes[i])
        for j in range(rows.shape[1]):
            back[i, j] = number(codes[i, j], rows[i, j]) * scales[i]


@kernel
def _ask(codes: Any, span: Any, gates: Any, q: Any, scales: Any, y: Any) -> None:
    add_answers(codes, Asked(span[0], span[1], gates, span[0], q, scales), y)


@kernel
def _write(state: Any, once: Any, again: Any) -> None:
    decays, left, right = once
    if again[0].size:
        write_twice(state, decays, left, right, again[0], again[1])
    else:
        write_once(state, decays, left, right)


def rows(dtype: str, count: int, width: int) -> Array:
    """Numbers of many sizes: zeros, some too small and some too large for half precision."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, width)) * np.exp(rng.uniform(-16, 13, (count, 1)))
    x[0] = 0
    x[1, :4] = [1e-7, -6e-8, 2.0**-25, -0.0]
    return x.astype(dtype)


@every_dtype
@every_code
def test_bits_are_those_of_the_cache(dtype: str, code: Any) -> None:
    x = rows(dtype, 60, 32)
    want = compact(x.reshape(1, 1, 1, -1), code, 32)
    codes, scales = np.zeros_like(viewed(want.codes)).reshape(x.shape), np.empty(60, dtype)
    back = np.empty_like(x)
    _store(x, codes, scales, back)
    np.testing.assert_array_equal(codes.ravel(), viewed(want.codes).ravel())
    np.testing.assert_array_equal(back.ravel(), expand(want, dtype).ravel())


@every_dtype
@every_code
def test_answers(dtype: str, code: Any) -> None:
    """Panels of every width, odd numbers of rows, rows that are not read, some of the matrices."""
    rng = np.random.default_rng(1)
    for width in (16, 48, 64, 80, 144, 208):
        for tall in (1, 2, 5, 33):
            x = rng.standard_normal((1, 4, 1, tall * width)).astype(dtype)
            stored, used = compact(x, code, width), max(tall - 1, 1)
            codes = viewed(stored.codes).reshape(4, tall, width)
            scales, gates = stored.scales.reshape(-1).astype(dtype), rng.random(4).astype(dtype)
            q, y = rng.standard_normal(used).astype(dtype), rng.random(width).astype(dtype)
            numbers = expand(stored, "float64").reshape(4, tall, width)[1:3, :used]
            want = y + np.einsum("n,k,nkv->v", gates[1:3], q, numbers)
            _ask(codes, (1, 2), gates, q, scales, y)
            bound = 2e-6 if dtype == "float32" else 1e-14
            np.testing.assert_allclose(y, want, rtol=0, atol=bound * np.abs(want).max())


@every_dtype
def test_writes(dtype: str) -> None:
    rng = np.random.default_rng(2)
    for width in (16, 64, 80):
        state = rng.standard_normal((7, width)).astype(dtype)
        decays, left, again = rng.random((3, 7)).astype(dtype)
        right, other = rng.standard_normal((2, width)).astype(dtype)
        want = decays[:, None] * state + np.outer(left, right)
        twice, bound = state.copy(), 1e-5 if dtype == "float32" else 1e-13
        _write(state, (decays, left, right), (left[:0], right))
        np.testing.assert_allclose(state, want, rtol=0, atol=bound)
        _write(twice, (decays, left, right), (again, other))
        np.testing.assert_allclose(twice, want + np.outer(again, other), rtol=0, atol=bound)
