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
    tokens, inner, c, scratch = block.tokens, block.inner, block.coefficients, block.scratch
    keys = tokens.k.shape[1]
    weights, momentum = target[: 2 * keys], target[2 * keys :]
    _decay(c, lifts, (source[: 2 * keys], source[2 * keys :]), (weights, momentum))
    _write(tokens, inner, c.until, scratch.scaled, weights, 1)
    if block.moves:
        _write(tokens, inner, c.pushed, scratch.scaled, momentum, 1 if lifts else 0)


@device
def _decay(c: Any, lifts: bool, sources: Any, targets: Any) -> None:
    """`since_end W + lifted_end S` and `kept S`."""
    weights, momentum = sources
    new_weights, new_momentum = targets
    n = c.since.shape[0]
    since, lifted, kept = c.since[n - 1], c.lifted[n - 1], c.momenta[n - 1, n + 1]
    for i in range(weights.shape[0]):
        if lifts:
            for e in range(weights.shape[1]):
                new_weights[i, e] = since * weights[i, e] + lifted * momentum[i, e]
                new_momentum[i, e] = kept * momentum[i, e]
        else:
            for e in range(weights.shape[1]):
                new_weights[i, e] = since * weights[i, e]


@device
def _write(tokens: Any, inner: Any, strength: Any, scaled: Any, target: Any, add: int) -> None:
    """`target (+)= -(strength . K)^T down` over `-(strength . R)^T A`."""
    keys = tokens.k.shape[1]
    scale_rows(tokens.k, strength, scaled)
    gemm(scaled.T, inner.down, target[:keys], -1.0, add, FULL)
    scale_rows(inner.pull, strength, scaled)
    gemm(scaled.T, inner.value, target[keys : 2 * keys], -1.0, add, FULL)


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
