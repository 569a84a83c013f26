"""One mild chunk of a memory with a decay per key channel, in matrix form.

With n tokens, incoming state S (K, V), factors a_t = exp(log_decay_t) (K,) and their products
since_t = a_1 .. a_t, every decay between two tokens is a quotient since_t / since_j: queries are
multiplied by it, what is written is divided by it, and the chunk is additive.

    L_0 = since * Q      R_0 = K / since      A_lr = lower(L_l R_r^T)

    y = sum_r A_0r U_r + L_0 S              S' = diag(since_n) (S + sum_r R_r^T U_r)

Memories that write values have U_0 = V; those that also take away what a removal key recalls (see
`rwkv7_chunk`) have a second pair L_1, R_1, U_1. Token t sees what itself has written with l = 0,
only what came before with l = 1.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gemm import FULL, LOWER, LOWER_OUT, gemm, transpose


class MildChunk(NamedTuple):
    """n tokens; a short last chunk is filled up with zeros and factors of 1. m: 1 or 2 pairs.

    Attributes:
        since, inverse: (n, K) products of factors, and 1 over them.
        left, right: (m, n, K) L and R.
        right_t: (m, K, n).
        written: (m, n, V) U.
        pairs: (m, m, n, n) A.
        y: (m, n, V) answers; in backward, their gradients.
    """

    since: Any
    inverse: Any
    left: Any
    right: Any
    right_t: Any
    written: Any
    pairs: Any
    y: Any


def make_mild(number: int, rows: int, keys: int, values: int, dtype: Any) -> MildChunk:
    """Uninitialised arrays of a chunk with `number` pairs."""
    shapes: list[tuple[int, ...]] = [(rows, keys)] * 2 + [(number, rows, keys)] * 2
    shapes += [(number, keys, rows), (number, rows, values), (number, number, rows, rows)]
    return MildChunk(*(np.empty(shape, dtype) for shape in (*shapes, (number, rows, values))))


@device
def load_factors(log_decay: Any, place: Any, chunk: Any) -> None:
    """`since` and `inverse` of the tokens at `place` = (b, h, begin, n)."""
    b, h, begin, n = place
    since, inverse = chunk.since, chunk.inverse
    rows, keys = since.shape
    for i in range(keys):
        since[0, i] = exp(log_decay[b, begin, h, i])
    for t in range(1, n):
        for i in range(keys):
            since[t, i] = since[t - 1, i] * exp(log_decay[b, begin + t, h, i])
    for t in range(n, rows):
        for i in range(keys):
            since[t, i] = since[n - 1, i]
    one = since.dtype.type(1)
    for t in range(rows):
        for i in range(keys):
            inverse[t, i] = one / since[t, i]


@device
def load_scaled(source: Any, place: Any, factors: Any, block: Any) -> None:
    """`block = factors * source` at `place` = (b, h, begin, n), zeros below."""
    b, h, begin, n = place
    for t in range(n):
        for i in range(block.shape[1]):
            block[t, i] = factors[t, i] * source[b, begin + t, h, i]
    for t in range(n, block.shape[0]):
        for i in range(block.shape[1]):
            block[t, i] = 0


@device
def mild_pairs(chunk: Any) -> None:
    """All A_lr, from L and R."""
    number = chunk.left.shape[0]
    for r in range(number):
        transpose(chunk.right[r], chunk.right_t[r])
        for l in range(number):  # noqa: E741
            gemm(chunk.left[l], chunk.right_t[r], chunk.pairs[l, r], 1.0, 0, LOWER_OUT)
            keep_lower(chunk.pairs[l, r], l)


@device
def keep_lower(pairs: Any, below: int) -> None:
    """Zeros where j > t - below."""
    rows, zero = pairs.shape[0], pairs.dtype.type(0)
    # Whole rows and a select: loops over j <= t are too short to fill vectors.
    for t in range(rows):
        for j in range(rows):
            pairs[t, j] = pairs[t, j] if j + below <= t else zero


@device
def mild_answers(chunk: Any, state: Any, fresh: bool) -> None:
    """y of the first pair; `fresh` says that S is zero."""
    for r in range(chunk.left.shape[0]):
        gemm(chunk.pairs[0, r], chunk.written[r], chunk.y[0], 1.0, r, LOWER)
    if not fresh:
        gemm(chunk.left[0], state, chunk.y[0], 1.0, 1, FULL)


@device
def mild_write(chunk: Any, state: Any) -> None:
    """`S <- diag(since_n) (S + sum_r R_r^T U_r)`."""
    for r in range(chunk.left.shape[0]):
        gemm(chunk.right[r].T, chunk.written[r], state, 1.0, 1, FULL)
    for i in range(state.shape[0]):
        factor = chunk.since[-1, i]
        for j in range(state.shape[1]):
            state[i, j] *= factor
