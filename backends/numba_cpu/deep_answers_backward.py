"""Gradients of a deep memory's answers to a block: the adjoint of each line of `deep_answers`.

Coefficients and gates get row dots with products that are there anyway: <dY W_out^T, A_q> is
<dY, A_q W_out>.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import scale_rows
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.deep_inner import times_transposed
from mcore.backends.numba_cpu.gemm import (
    FULL,
    LOWER,
    LOWER_OUT,
    LOWER_TRANSPOSED,
    gemm,
    transpose,
)


@device
def ask_backward(block: Any, lifts: bool, states: Any, dy: Any, out: Any) -> None:
    """From dy (n, K): sets out.query, the gradient of A_q; adds to the rest of `out`.

    states: the state before the block and its gradient, which is added to.
    """
    tokens, inner, query, scratch = block.tokens, block.inner, block.query, block.scratch
    state, d_state = states
    keys, pairs, d_pairs = tokens.q.shape[1], scratch.pairs, scratch.d_pairs
    transpose(inner.pull, scratch.keys_t)
    gemm(dy, scratch.keys_t, d_pairs, 1.0, 0, LOWER_OUT)
    gemm(query.value, inner.value_t, pairs, 1.0, 0, LOWER_OUT)
    _pairs_backward(block, out)
    gemm(pairs.T, dy, out.pull, -1.0, 1, LOWER_TRANSPOSED)
    gemm(d_pairs, inner.value, out.query, -1.0, 0, LOWER)
    gemm(d_pairs.T, query.value, out.value, -1.0, 1, LOWER_TRANSPOSED)
    c, d = block.coefficients, out.coefficients
    part = (state[keys : 2 * keys], d_state[keys : 2 * keys])
    _second_layer_backward(block, part, dy, (query.since, c.since, d.since), out)
    if lifts:
        part = (state[3 * keys : 4 * keys], d_state[3 * keys : 4 * keys])
        _second_layer_backward(block, part, dy, (query.lifted, c.lifted, d.lifted), out)


@device
def _pairs_backward(block: Any, out: Any) -> None:
    """From a layer's pairs of rows and their gradients: both get the other factors, g included."""
    tokens, c, scratch = block.tokens, block.coefficients, block.scratch
    zero = scratch.pairs.dtype.type(0)
    for t in range(scratch.pairs.shape[0]):
        gate, total = tokens.gate[t], zero
        for j in range(scratch.pairs.shape[0]):
            pair = scratch.pairs[t, j] if j <= t else zero
            d_pair = scratch.d_pairs[t, j] if j <= t else zero
            weight = c.pairs[t, j]
            total += pair * weight * d_pair
            out.coefficients.pairs[t, j] -= gate * pair * d_pair
            scratch.pairs[t, j] = gate * weight * pair
            scratch.d_pairs[t, j] = gate * weight * d_pair
        out.gate[t] -= total


@device
def _second_layer_backward(block: Any, part: Any, dy: Any, numbers: Any, out: Any) -> None:
    """Of `numbers . (A_q W^T)` for a part of the state, W and dW (K, E)."""
    weights, d_weights = part
    gated, plain, d_plain = numbers
    query, scratch, zero = block.query, block.scratch, dy.dtype.type(0)
    gemm(dy, weights, scratch.hidden, 1.0, 0, FULL)
    for t in range(dy.shape[0]):
        total = zero
        for e in range(weights.shape[1]):
            total += scratch.hidden[t, e] * query.value[t, e]
            out.query[t, e] += gated[t] * scratch.hidden[t, e]
        d_plain[t] += block.tokens.gate[t] * total
        out.gate[t] += plain[t] * total
    scale_rows(dy, gated, scratch.scaled)
    gemm(scratch.scaled.T, query.value, d_weights, 1.0, 1, FULL)


@device
def ask_hidden_backward(block: Any, lifts: bool, states: Any, out: Any) -> None:
    """From the gradient of A_q in `out.query`, which becomes that of g X + extra."""
    tokens, inner, query, scratch = block.tokens, block.inner, block.query, block.scratch
    state, d_state = states
    keys, pairs, d_pairs = tokens.q.shape[1], scratch.pairs, scratch.d_pairs
    for t in range(out.query.shape[0]):
        for e in range(out.query.shape[1]):
            out.query[t, e] *= query.slope[t, e]
    gemm(out.query, inner.down_t, d_pairs, 1.0, 0, LOWER_OUT)
    gemm(tokens.q, tokens.k_t, pairs, 1.0, 0, LOWER_OUT)
    _pairs_backward(block, out)
    gemm(pairs.T, out.query, out.down, -1.0, 1, LOWER_TRANSPOSED)
    gemm(d_pairs, tokens.k, out.q, -1.0, 1, LOWER)
    gemm(d_pairs.T, tokens.q, out.k, -1.0, 1, LOWER_TRANSPOSED)
    transpose(out.query, scratch.hidden_t)
    c, d = block.coefficients, out.coefficients
    part = (state[:keys], d_state[:keys])
    _first_layer_backward(block, part, (query.since, c.since, d.since), out)
    if lifts:
        part = (state[2 * keys : 3 * keys], d_state[2 * keys : 3 * keys])
        _first_layer_backward(block, part, (query.lifted, c.lifted, d.lifted), out)


@device
def _first_layer_backward(block: Any, part: Any, numbers: Any, out: Any) -> None:
    """Of `numbers . (Q W)` for a part of the state, W and dW (K, E)."""
    weights, d_weights = part
    gated, plain, d_plain = numbers
    tokens, scratch, zero = block.tokens, block.scratch, out.q.dtype.type(0)
    times_transposed(weights, out.query, scratch.hidden_t, scratch.columns)
    for t in range(out.q.shape[0]):
        total = zero
        for i in range(out.q.shape[1]):
            total += tokens.q[t, i] * scratch.columns[i, t]
            out.q[t, i] += gated[t] * scratch.columns[i, t]
        d_plain[t] += tokens.gate[t] * total
        out.gate[t] += plain[t] * total
    scale_rows(tokens.q, gated, scratch.scaled)
    gemm(scratch.scaled.T, out.query, d_weights, 1.0, 1, FULL)
