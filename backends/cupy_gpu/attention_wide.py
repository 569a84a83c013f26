"""`attention` of heads too wide for a block's registers: matrix products, some queries at a time.

Its weights are a matrix over those queries and all keys, and are made anew for backward.
"""

from collections.abc import Iterator
from typing import Any

from mcore.arrays import Array

AT_ONCE = 256
"""Queries whose weights exist at the same time."""


def attention(xp: Any, q: Array, k: Array, v: Array, reach: int) -> Array:
    """y (B, T, H, V); see `mcore.backend.Backend.attention`."""
    y: Array = xp.empty((*q.shape[:3], v.shape[-1]), q.dtype)
    keys, values = _by_head(k), _by_head(v)
    for at in _parts(q.shape[1]):
        weights = _weights(xp, _by_head(q[:, at]), keys, at.start + k.shape[1] - q.shape[1], reach)
        y[:, at] = _by_token(xp.matmul(weights, values))
    return y


def attention_backward(
    xp: Any, inputs: tuple[Array, Array, Array], reach: int, dy: Array
) -> tuple[Array, Array, Array]:
    """Gradients with respect to the inputs q, k and v."""
    q, k, v = inputs
    keys, values, scale = _by_head(k), _by_head(v), q.shape[-1] ** -0.5
    dq, dk, dv = xp.empty_like(q), xp.zeros_like(keys), xp.zeros_like(values)
    for at in _parts(q.shape[1]):
        queries, d_answers = _by_head(q[:, at]), _by_head(dy[:, at])
        weights = _weights(xp, queries, keys, at.start + k.shape[1] - q.shape[1], reach)
        d_weights = xp.matmul(d_answers, values.swapaxes(2, 3))
        mean = (weights * d_weights).sum(axis=-1, keepdims=True)
        d_logits = weights * (d_weights - mean) * scale
        dq[:, at] = _by_token(xp.matmul(d_logits, keys))
        dk += xp.matmul(d_logits.swapaxes(2, 3), queries)
        dv += xp.matmul(weights.swapaxes(2, 3), d_answers)
    return dq, xp.ascontiguousarray(_by_token(dk)), xp.ascontiguousarray(_by_token(dv))


def _weights(xp: Any, queries: Array, keys: Array, position: int, reach: int) -> Array:
    """(B, H, t, M) softmax of what queries from `position` on see."""
    logits = xp.matmul(queries, keys.swapaxes(2, 3)) * queries.shape[-1] ** -0.5
    rows = xp.arange(position, position + queries.shape[2])[:, None]
    distance = rows - xp.arange(keys.shape[2])
    logits = xp.where((distance >= 0) & (distance < reach), logits, -xp.inf)
    weights = xp.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def _parts(tokens: int) -> Iterator[slice]:
    return (slice(t, min(t + AT_ONCE, tokens)) for t in range(0, tokens, AT_ONCE))


def _by_head(x: Array) -> Array:
    """(B, H, T, .) from (B, T, H, .)."""
    return x.swapaxes(1, 2)


def _by_token(x: Array) -> Array:
    """(B, T, H, .) from (B, H, T, .)."""
    return x.swapaxes(1, 2)
