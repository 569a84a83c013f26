"""Attention over rows that hold several documents: each document by itself.

Documents of one length go through the operation together, so that rows which are cut alike cost no
more calls than one row.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mcore.arrays import Array, namespace
from mcore.backend import Backend
from mcore.documents import arrivals
from mcore.placing import sent


def packed_attention(
    backend: Backend, inputs: tuple[Array, Array, Array], window: int | None, ids: Array
) -> tuple[Array, Any]:
    """y (B, T, H, V) of q, k, v (B, T, H, .); 0 where a token is padding."""
    q, k, v = inputs
    y = namespace(q).zeros((*q.shape[:3], v.shape[-1]), q.dtype)
    kept = []
    for rows, tokens in _groups(ids):
        at = sent(q, rows), sent(q, tokens)
        y[at], saved = backend.attention(q[at], k[at], v[at], window)
        kept.append((at, saved))
    return y, (backend, inputs, kept)


def packed_attention_backward(saved: Any, dy: Array) -> list[Array]:
    """Gradients with respect to q, k and v."""
    backend, inputs, kept = saved
    gradients = [namespace(x).zeros_like(x) for x in inputs]
    for at, each in kept:
        found = backend.attention_backward(each, dy[at])
        for gradient, part in zip(gradients, found, strict=True):
            gradient[at] = part
    return gradients


def _groups(ids: Array) -> Iterator[tuple[Array, Array]]:
    """Rows (N, 1) and tokens (N, L) of all documents of each length L."""
    nothing = np.zeros(len(ids), np.int64)
    spans = arrivals(ids, nothing, nothing).spans
    places = [(row, s.begin, s.end - s.begin) for row, line in enumerate(spans) for s in line]
    for length in sorted({length for _, _, length in places}):
        rows, begins = np.array([place[:2] for place in places if place[2] == length]).T
        yield rows[:, None], begins[:, None] + np.arange(length)
