"""The small matrix product and transpose as plain loops: any host, any element type."""

from typing import Any

from numba import types
from numba.extending import overload

from mcore.backends.numba_cpu.caching import device

_LOWER, _LOWER_TRANSPOSED, _LOWER_OUT = 1, 2, 3


def row_scale(w: Any, i: int) -> Any:
    """`w[i]`, or `w` itself where it is one number."""
    return w[i] if hasattr(w, "shape") else w


def _item(w: Any, i: int) -> Any:
    return w[i]


def _itself(w: Any, i: int) -> Any:
    return w


@overload(row_scale)
def _row_scale(w: Any, i: int) -> Any:
    return _item if isinstance(w, types.Array) else _itself


@device
def gemm(a: Any, b: Any, c: Any, w: Any, add: int, mode: int) -> None:
    """`C (+)= diag(w) A B`; see `mcore.backends.numba_cpu.gemm`."""
    zero = c.dtype.type(0)
    for i in range(a.shape[0]):
        columns = min(i + 1, b.shape[1]) if mode == _LOWER_OUT else b.shape[1]
        if not add:
            for j in range(columns):
                c[i, j] = zero
        begin = i if mode == _LOWER_TRANSPOSED else 0
        end = min(i + 1, a.shape[1]) if mode == _LOWER else a.shape[1]
        scale = c.dtype.type(row_scale(w, i))
        for k in range(begin, end):
            x = scale * a[i, k]
            for j in range(columns):
                c[i, j] += x * b[k, j]


@device
def weigh(a: Any, b: Any, q: Any, d: Any, weighted: Any, w: Any, s: Any) -> None:
    """`X = A B; s_t += sum_k Q_kt X_kt; D += w . X; W = w . Q`: see `weigh`."""
    for k in range(a.shape[0]):
        for t in range(b.shape[1]):
            total = a[k, 0] * b[0, t]
            for j in range(1, a.shape[1]):
                total += a[k, j] * b[j, t]
            s[t] += q[k, t] * total
            d[k, t] += w[t] * total
            weighted[k, t] = w[t] * q[k, t]


@device
def transpose(a: Any, b: Any) -> None:
    """`B = A^T`."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            b[j, i] = a[i, j]
