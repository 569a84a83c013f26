"""One chunk of a layer whose tokens read their best checkpoints only, backwards."""

from typing import Any

from mcore.backends.numba_cpu.blocks import clear, load_rows, load_scalars, store_rows
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.fused_backward_kernels import reload
from mcore.backends.numba_cpu.fused_chunk_backward import online_backward
from mcore.backends.numba_cpu.fused_pool import pool_backward
from mcore.backends.numba_cpu.scan_backward_kernels import store_chunk


@device
def sparse_chunk_backward(x: Any, tokens: Any, chunk: Any, work: Any, given: Any, out: Any) -> None:
    """chunk = (its number in the segment, if it is the last, if it starts afresh, tokens of the
    segment before it); the readers' part of dq is in `out` already."""
    i, last, fresh, count = chunk
    ends, dy, _, _ = given
    layer = work.layer
    scan, gates = layer.scan, layer.gates
    reload(x, tokens, (i, last), scan)
    load_rows(dy, tokens, scan.dy)
    load_rows(x.u, tokens, gates.u)
    load_scalars(ends.share, tokens, gates.share)
    whole = online_backward(x, i, fresh, layer)
    clear(layer.du)
    _gates_backward(x, tokens, work, ends)
    parts = (tokens[3], scan.chunk.k, gates.u)
    pools = (layer.pools[i], layer.d_sums)
    pool_backward(x, parts, count, pools, (layer.used, layer.du, scan.out.k))
    _add_readers(out.scan.q, tokens, scan.out.q)
    store_chunk(scan.out, whole, out.scan, tokens)
    store_rows(layer.du, out.u, tokens)


@device
def _gates_backward(x: Any, tokens: Any, work: Any, ends: Any) -> None:
    """Through each token's softmax: du, gradients of contexts, and of online logits in `used`."""
    b, h, begin, n = tokens
    layer, d_gates = work.layer, work.choice.d_gates
    share, used = layer.gates.share, layer.used
    scale = 1 / (x.u.dtype.type(x.u.shape[3])) ** 0.5
    for t in range(n):
        mean = scale * 0 if x.outside else used[t]
        for slot in range(x.top_k):
            if ends.columns[b, begin + t, h, slot] >= 0:
                mean += ends.gates[b, begin + t, h, slot] * d_gates[begin + t, slot]
        for slot in range(x.top_k):
            column = ends.columns[b, begin + t, h, slot]
            if column >= 0:
                gate = ends.gates[b, begin + t, h, slot]
                weight = gate * (d_gates[begin + t, slot] - mean) * scale
                _meet(layer, t, column, weight)
        used[t] = 0 if x.outside else (used[t] - share[t] * mean) * scale


@device
def _meet(layer: Any, t: int, column: int, weight: Any) -> None:
    """A logit's gradient reaches u and the context."""
    u, contexts = layer.gates.u, layer.gates.contexts
    for j in range(u.shape[1]):
        layer.du[t, j] += weight * contexts[column, j]
        layer.d_contexts[column, j] += weight * u[t, j]


@device
def _add_readers(dq: Any, tokens: Any, block: Any) -> None:
    b, h, begin, n = tokens
    for t in range(n):
        for j in range(block.shape[1]):
            block[t, j] += dq[b, begin + t, h, j]
