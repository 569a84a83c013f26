"""The error that a token's inner loss leaves at the perceptron's answer, and its gradient.

DOT      r = -v                        (dla)
SQUARE   r = e,   e = M(k) - v         (titans)
HUBER    r = e, scaled down to length delta if it is longer        (yaad)
"""

import math
from typing import Any

from mcore.backends.numba_cpu.blocks import row_dot
from mcore.backends.numba_cpu.caching import device

DOT, SQUARE, HUBER = 0, 1, 2


@device
def set_error(loss: int, tokens: Any, said: Any, inner: Any) -> None:
    """Fill `inner.pull` = r, and `miss` = e and `length` (0: not scaled down) where r needs them.

    said: (K, n) what the perceptron adds to each key, transposed.
    """
    for j in range(inner.pull.shape[0]):
        for i in range(inner.pull.shape[1]):
            if loss == DOT:
                inner.pull[j, i] = -tokens.v[j, i]
            else:
                inner.miss[j, i] = tokens.k[j, i] + said[i, j] - tokens.v[j, i]
                inner.pull[j, i] = inner.miss[j, i]
        if loss == HUBER:
            _clip(tokens.delta[j], j, inner)


@device
def _clip(delta: Any, j: int, inner: Any) -> None:
    length = math.sqrt(row_dot(inner.miss, inner.miss, j))
    inner.length[j] = 0
    if length > delta:
        inner.length[j] = length
        for i in range(inner.pull.shape[1]):
            inner.pull[j, i] = delta / length * inner.miss[j, i]


@device
def error_backward(loss: int, tokens: Any, inner: Any, out: Any) -> None:
    """`out.pull` goes from the gradient of r to that of the answer; sets `out.v`, `out.delta`."""
    for j in range(inner.pull.shape[0]):
        if loss == HUBER:
            out.delta[j] = 0
            if inner.length[j] > 0:
                out.delta[j] = _unclip(tokens.delta[j], j, inner, out)
        for i in range(inner.pull.shape[1]):
            out.v[j, i] = -out.pull[j, i]
            if loss == DOT:
                out.pull[j, i] = 0
            else:
                out.k[j, i] += out.pull[j, i]


@device
def _unclip(delta: Any, j: int, inner: Any, out: Any) -> Any:
    """With n = e / |e|: `de = delta / |e| (dr - n <n, dr>)`; returns `<n, dr>`."""
    length = inner.length[j]
    along = row_dot(inner.miss, out.pull, j) / length
    for i in range(inner.pull.shape[1]):
        turned = out.pull[j, i] - inner.miss[j, i] / length * along
        out.pull[j, i] = delta / length * turned
    return along
