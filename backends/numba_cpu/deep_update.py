"""What a block of tokens makes of a deep memory, and the gradient of that.

With the coefficients of `deep_coefficients`, for both matrices W of the perceptron and S of its
momentum (what is written here for w_in holds for w_out^T with R, A in place of K, down):

    W' = since_end W + lifted_end S - (until . K)^T down        S' = kept S - (pushed . K)^T down
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import scale_rows
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.deep_inner import times_transposed
from mcore.backends.numba_cpu.gemm import FULL, gemm


@device
def advance(block: Any, lifts: bool, source: Any, target: Any) -> None:
    """The state after the block in `target` (rows, E), from the one before it in another array.

    lifts: whether there is a momentum that is not zero. An anchor is not touched.
    """
    tokens, inner, keys = block.tokens, block.inner, block.tokens.k.shape[1]
    states = (source[: 4 * keys], target[: 4 * keys])
    _advance_layer(block, lifts, (tokens.k, inner.down), states, 0)
    _advance_layer(block, lifts, (inner.pull, inner.value), states, keys)


@device
def _advance_layer(block: Any, lifts: bool, layer: Any, states: Any, first: int) -> None:
    """The rows from `first` on of both matrices, a few at a time, which stay in the fast caches.

    layer: K, down or R, A.
    """
    rows, hidden = layer
    c, keys = block.coefficients, rows.shape[1]
    scaled, pushed = block.scratch.scaled, block.scratch.pushed
    scale_rows(rows, c.until, scaled)
    if block.moves:
        scale_rows(rows, c.pushed, pushed)
    few = max(8, rows.shape[0])
    for i in range(0, keys, few):
        end = min(i + few, keys)
        _decay(c, lifts, states, (first + i, first + end), 2 * keys)
        weights = states[1][first + i : first + end]
        gemm(scaled.T[i:end], hidden, weights, -1.0, 1, FULL)
        if block.moves:
            momentum = states[1][2 * keys + first + i : 2 * keys + first + end]
            gemm(pushed.T[i:end], hidden, momentum, -1.0, 1 if lifts else 0, FULL)


@device
def _decay(c: Any, lifts: bool, states: Any, rows: Any, momentum: int) -> None:
    """`since_end W + lifted_end S` and `kept S`; S is `momentum` rows below W."""
    source, target = states
    n = c.since.shape[0]
    since, lifted, kept = c.since[n - 1], c.lifted[n - 1], c.momenta[n - 1, n + 1]
    for i in range(rows[0], rows[1]):
        if lifts:
            for e in range(source.shape[1]):
                target[i, e] = since * source[i, e] + lifted * source[momentum + i, e]
                target[momentum + i, e] = kept * source[momentum + i, e]
        else:
            for e in range(source.shape[1]):
                target[i, e] = since * source[i, e]


@device
def advance_backward(block: Any, lifts: bool, source: Any, d_state: Any, out: Any) -> None:
    """Gradients of `advance`: `d_state` goes from the state after the block to the one before.

    Adds to k, pull, down, value and coefficients of `out`. Where `lifts` is not so, the momentum's
    part of `d_state` is left as it is.
    """
    keys = block.tokens.k.shape[1]
    c, d = block.coefficients, out.coefficients
    _written_backward(block, (c.until, d.until), d_state[: 2 * keys], out)
    if block.moves:
        _written_backward(block, (c.pushed, d.pushed), d_state[2 * keys : 4 * keys], out)
    parts = (source[: 2 * keys], source[2 * keys :], d_state[: 2 * keys], d_state[2 * keys :])
    _decay_backward(c, lifts, parts, d)


@device
def _written_backward(block: Any, strengths: Any, d_target: Any, out: Any) -> None:
    """Gradients of `_write`, added to what is there."""
    tokens, inner, scratch = block.tokens, block.inner, block.scratch
    strength, d_strength = strengths
    keys, hidden, columns = tokens.k.shape[1], scratch.hidden, scratch.columns
    zero = hidden.dtype.type(0)
    gemm(tokens.k, d_target[:keys], hidden, 1.0, 0, FULL)
    for j in range(strength.shape[0]):
        total = zero
        for e in range(hidden.shape[1]):
            total += inner.down[j, e] * hidden[j, e]
            out.down[j, e] -= strength[j] * hidden[j, e]
        d_strength[j] -= total
    times_transposed(d_target[:keys], inner.down, inner.down_t, columns)
    _add_scaled(columns, strength, out.k)
    times_transposed(d_target[keys:], inner.value, inner.value_t, columns)
    _add_dots(columns, inner.pull, d_strength)
    _add_scaled(columns, strength, out.pull)
    scale_rows(inner.pull, strength, scratch.scaled)
    gemm(scratch.scaled, d_target[keys:], out.value, -1.0, 1, FULL)


@device
def _add_scaled(columns: Any, strength: Any, out: Any) -> None:
    """`out -= (columns . strength)^T`."""
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[j, i] -= strength[j] * columns[i, j]


@device
def _add_dots(columns: Any, rows: Any, out: Any) -> None:
    """`out_j -= <rows_j, columns_j>`."""
    for j in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            out[j] -= rows[j, i] * columns[i, j]


@device
def _decay_backward(c: Any, lifts: bool, parts: Any, d: Any) -> None:
    """Gradients of `_decay`."""
    weights, momentum, d_weights, d_momentum = parts
    n = c.since.shape[0]
    since, lifted, kept = c.since[n - 1], c.lifted[n - 1], c.momenta[n - 1, n + 1]
    zero = d_weights.dtype.type(0)
    for i in range(weights.shape[0]):
        d_since, d_lifted, d_kept = zero, zero, zero
        if lifts:
            for e in range(weights.shape[1]):
                d_weight, d_moved = d_weights[i, e], d_momentum[i, e]
                d_since += d_weight * weights[i, e]
                d_lifted += d_weight * momentum[i, e]
                d_kept += d_moved * momentum[i, e]
                d_weights[i, e] = since * d_weight
                d_momentum[i, e] = lifted * d_weight + kept * d_moved
        else:
            for e in range(weights.shape[1]):
                d_since += d_weights[i, e] * weights[i, e]
                d_weights[i, e] *= since
        d.since[n - 1] += d_since
        d.lifted[n - 1] += d_lifted
        d.kept[0] += d_kept
