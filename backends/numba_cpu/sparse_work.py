"""Arrays of a layer whose tokens read their best checkpoints only, and work of one thread."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS
from mcore.backends.numba_cpu.fused_inputs import LayerInputs, columns_of
from mcore.backends.numba_cpu.fused_work import layer_backward_work, layer_work


class SparseOutputs(NamedTuple):
    """What a forward writes.

    Attributes:
        y, states, contexts: as of `LayerOutputs`.
        share: (B, T, H) gates of the online memory.
        columns: (B, T, H, top_k) int32 the checkpoints that a token reads, -1 for none.
        gates: (B, T, H, top_k) of these.
    """

    y: Any
    states: Any
    contexts: Any
    share: Any
    columns: Any
    gates: Any


class Choice(NamedTuple):
    """Who reads what, and a block of n readers of one checkpoint.

    Attributes:
        best, columns: (top_k, n) logits or gates of a chunk's tokens, and their columns.
        bound: two vectors (n,) of scratch, the second int32.
        offsets: (C + 1,) first entry of each column.
        entries: (2, T top_k) int32 tokens, counted from the group's first, and slots, by column.
        q, dq: (n, K).
        y, dy: (n, V).
        weights: (n,).
        state_t: (V, K).
        gates: (T, top_k) gates of a group's tokens, or their gradients.
        queries, d_queries: (T, K) of a group's tokens, one after another: near, and next to it.
        answers: (T, V) of these, or their gradients.
    """

    best: Any
    columns: Any
    bound: Any
    offsets: Any
    entries: Any
    q: Any
    dq: Any
    y: Any
    dy: Any
    weights: Any
    state_t: Any
    gates: Any
    queries: Any
    d_queries: Any
    answers: Any


class SparseWork(NamedTuple):
    """Work arrays of one thread: of the layer, and of its choices."""

    layer: Any
    choice: Choice


def sparse_work(x: LayerInputs) -> SparseWork:
    """Work arrays of forward."""
    layer = layer_work(x)
    return SparseWork(layer, _choice(x, layer.u.shape[0]))


def sparse_backward_work(x: LayerInputs) -> SparseWork:
    """Work arrays of backward."""
    layer = layer_backward_work(x)
    return SparseWork(layer, _choice(x, layer.du.shape[0]))


def _choice(x: LayerInputs, rows: int) -> Choice:
    tokens, dtype = x.u.shape[1], x.u.dtype
    keys, values = x.u.shape[3], x.scan.v.shape[3]
    n = min(ROWS, max(tokens, 1))

    def empty(*shape: int) -> Any:
        return np.empty(shape, dtype)

    return Choice(
        empty(x.top_k, rows), np.empty((x.top_k, rows), np.int32),
        (empty(rows), np.empty(rows, np.int32)),
        np.empty(columns_of(x) + 1, np.int64), np.empty((2, tokens * x.top_k), np.int32),
        empty(n, keys), empty(n, keys), empty(n, values), empty(n, values), empty(n),
        empty(values, keys), empty(tokens, x.top_k),
        empty(tokens, keys), empty(tokens, keys), empty(tokens, values),
    )  # fmt: skip
