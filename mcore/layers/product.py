"""Matrix products of which the inputs may be bfloat16: sums are then float32.

    y = a b        a (M, K), b (K, N) of one dtype; y (M, N) of that dtype, or wider

A library's own product is used for other dtypes. For bfloat16 a backend brings one (`bring`), which
adds up in float32 and rounds once; without, the inputs are widened first, which gives the same.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from mcore.arrays import Array, namespace

HALF = "bfloat16"
"""The dtype of a model whose products take rounded inputs."""

Product = Callable[[Array, Array, str], Array]

_brought: dict[ModuleType, Product] = {}


def bring(xp: ModuleType, product: Product) -> None:
    """Have products of bfloat16 arrays of library `xp` computed by `product(a, b, dtype)`."""
    _brought[xp] = product


def product(a: Array, b: Array, dtype: str) -> Array:
    """`a b` as numbers of `dtype`; see the module."""
    if a.dtype.name != HALF:
        return a @ b
    return _brought.get(namespace(a), _widened)(a, b, dtype)


def in_dtype(x: Array, dtype: str) -> Array:
    """`x` as numbers of `dtype`: itself if they are."""
    return x if x.dtype.name == dtype else x.astype(number_type(dtype))


def number_type(dtype: str) -> "np.dtype[Any]":
    """What array libraries call a dtype; they know bfloat16 by the type of `ml_dtypes` alone."""
    if dtype != HALF:
        return np.dtype(dtype)
    import ml_dtypes

    half: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return half


def real_of(dtype: str) -> str:
    """Dtype of the parameters, states and sums of a model of `dtype`."""
    return "float32" if dtype == HALF else dtype


def _widened(a: Array, b: Array, dtype: str) -> Array:
    return in_dtype(a.astype("float32") @ b.astype("float32"), dtype)
