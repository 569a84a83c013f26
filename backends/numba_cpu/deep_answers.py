"""Answers of a deep memory to the queries of a block, one after each token.

M_t = since_t W + lifted_t S - sum_j pairs_tj G_j, and the G_j are rank one, so

    X = since . (Q W_in) + lifted . (Q S_in) - (Q K^T . pairs) down         A_q = gelu(g X + extra)
    Z = since . (A_q W_out) + lifted . (A_q S_out) - (A_q A^T . pairs) R    y = q + g Z

are exact answers of every M_t. Plain reads have g = 1 and no extra; a mixture of memories has its
gate as g, and as extra what the other memories say to q.
"""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.deep_inner import times_transposed
from mcore.backends.numba_cpu.gelu_vector import gelu_slope, gelu_value
from mcore.backends.numba_cpu.gemm import FULL, LOWER, LOWER_OUT, gemm, transpose


class Query(NamedTuple):
    """The queries inside the perceptron, n of them.

    Attributes:
        before: (n, E) g X + extra.
        value: (n, E) A_q.
        slope: (n, E) gelu'(g X + extra), or no elements where no gradient follows.
        value_t: (E, n).
        since, lifted, minus: (n,) the coefficients of W, S and -1, times g.
    """

    before: Any
    value: Any
    slope: Any
    value_t: Any
    since: Any
    lifted: Any
    minus: Any


@device
def weigh_pairs(pairs: Any, weights: Any) -> None:
    """`pairs *= weights`, and zeros above the diagonal."""
    zero = pairs.dtype.type(0)
    for t in range(pairs.shape[0]):
        for j in range(pairs.shape[0]):
            pairs[t, j] = pairs[t, j] * weights[t, j] if j <= t else zero


@device
def ask_hidden(block: Any, lifts: bool, state: Any, has_extra: int) -> None:
    """Fill `query`; `query.before` comes in as extra, if any."""
    tokens, c, query = block.tokens, block.coefficients, block.query
    pairs, keys = block.scratch.pairs, tokens.q.shape[1]
    for t in range(query.since.shape[0]):
        query.since[t] = tokens.gate[t] * c.since[t]
        query.lifted[t] = tokens.gate[t] * c.lifted[t]
        query.minus[t] = -tokens.gate[t]
    gemm(tokens.q, tokens.k_t, pairs, 1.0, 0, LOWER_OUT)
    weigh_pairs(pairs, c.pairs)
    gemm(pairs, block.inner.down, query.before, query.minus, has_extra, LOWER)
    gemm(tokens.q, state[:keys], query.before, query.since, 1, FULL)
    if lifts:
        gemm(tokens.q, state[2 * keys : 3 * keys], query.before, query.lifted, 1, FULL)
    _activate(query)


@device
def _activate(query: Any) -> None:
    for t in range(query.before.shape[0]):
        if query.slope.size:
            gelu_slope(query.before[t], query.value[t], query.slope[t])
        else:
            gelu_value(query.before[t], query.value[t])


@device
def ask(block: Any, lifts: bool, state: Any, y: Any) -> None:
    """The answers y (n, K), once `ask_hidden` is done."""
    tokens, inner, query, scratch = block.tokens, block.inner, block.query, block.scratch
    keys = tokens.q.shape[1]
    transpose(query.value, query.value_t)
    gemm(query.value, inner.value_t, scratch.pairs, 1.0, 0, LOWER_OUT)
    weigh_pairs(scratch.pairs, block.coefficients.pairs)
    gemm(scratch.pairs, inner.pull, y, query.minus, 0, LOWER)
    times_transposed(state[keys : 2 * keys], query.value, query.value_t, scratch.columns)
    _add(scratch.columns, query.since, y)
    if lifts:
        times_transposed(state[3 * keys : 4 * keys], query.value, query.value_t, scratch.columns)
        _add(scratch.columns, query.lifted, y)
    for t in range(y.shape[0]):
        for i in range(keys):
            y[t, i] += tokens.q[t, i]


@device
def _add(columns: Any, weights: Any, y: Any) -> None:
    """`y += weights . columns^T`."""
    for t in range(y.shape[0]):
        for i in range(y.shape[1]):
            y[t, i] += weights[t] * columns[i, t]
