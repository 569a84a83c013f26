"""Reference `attention`: causal softmax attention with the whole matrix of weights.

y_t = sum_j softmax_j(q_t . k_j / sqrt(K)) v_j,   t - window < j <= t
"""

from typing import Any

import numpy as np

from mcore.arrays import Array


def attention(q: Array, k: Array, v: Array, window: int | None) -> tuple[Array, Any]:
    """See `mcore.backend.Backend.attention`."""
    logits = np.einsum("bthk,bmhk->bhtm", q, k) * q.shape[-1] ** -0.5
    logits = np.where(_visible(q.shape[1], k.shape[1], window), logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    return np.einsum("bhtm,bmhv->bthv", weights, v), (q, k, v, weights)


def attention_backward(saved: Any, dy: Array) -> tuple[Array, Array, Array]:
    """See `mcore.backend.Backend.attention_backward`."""
    q, k, v, weights = saved
    d_weights = np.einsum("bthv,bmhv->bhtm", dy, v)
    mean = (weights * d_weights).sum(axis=-1, keepdims=True)
    d_logits = weights * (d_weights - mean) * q.shape[-1] ** -0.5
    return (
        np.einsum("bhtm,bmhk->bthk", d_logits, k),
        np.einsum("bhtm,bthk->bmhk", d_logits, q),
        np.einsum("bhtm,bthv->bmhv", weights, dy),
    )


def _visible(tokens: int, keys: int, window: int | None) -> Array:
    position = np.arange(keys - tokens, keys)[:, None]
    distance = position - np.arange(keys)
    seen = distance >= 0
    return seen if window is None else seen & (distance < window)
