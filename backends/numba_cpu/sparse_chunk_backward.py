"""One chunk of a layer whose tokens read their best checkpoints only, backwards."""

from typing import Any

from mcore.backends.numba_cpu.apart import apart
from mcore.backends.numba_cpu.blocks import (
    add,
    clear,
    load_rows,
    load_scalars,
    store_rows,
)
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.fused_backward_kernels import ask_ahead, reload
from mcore.backends.numba_cpu.fused_chunk_backward import online_backward
from mcore.backends.numba_cpu.fused_pool import pool_backward
from mcore.backends.numba_cpu.fused_start import APART
from mcore.backends.numba_cpu.scan_backward_kernels import store_chunk


@device
def sparse_chunk_backward(x: Any, tokens: Any, chunk: Any, work: Any, given: Any, out: Any) -> None:
    """chunk = (its number in the segment, if it is the last, if it starts afresh, tokens of the
    segment before it, first token of the group); the readers' part of dq is known already."""
    i, last, fresh, count, base = chunk
    ends, dy, _, _ = given
    layer = work.layer
    scan, gates = layer.scan, layer.gates
    ask_ahead(x, tokens, dy, out)
    reload(x, tokens, (i, last), scan)
    load_rows(dy, tokens, scan.dy)
    load_rows(x.u, tokens, gates.u)
    load_scalars(ends.share, tokens, gates.share)
    whole = online_backward(x, i, (fresh, APART), layer)
    clear(layer.du)
    here = tokens[2] - base
    _gates_backward(x, tokens, here, work, ends)
    parts = (tokens[3], scan.chunk.k, gates.u)
    pools = (layer.pools[i], layer.d_sums)
    pool_backward(x, parts, count, pools, (layer.used, layer.du, scan.out.k))
    n = tokens[3]
    add(work.choice.d_queries[here : here + n], scan.out.q[:n])
    store_chunk(scan.out, whole, out.scan, tokens)
    store_rows(layer.du, out.u, tokens)


@device
def _gates_backward(x: Any, tokens: Any, here: int, work: Any, ends: Any) -> None:
    """Through each token's softmax: du, gradients of contexts, and of online logits in `used`."""
    b, h, begin, n = tokens
    layer, d_gates = work.layer, work.choice.gates
    share, used = layer.gates.share, layer.used
    scale = 1 / (x.u.dtype.type(x.u.shape[3])) ** 0.5
    for t in range(n):
        mean = scale * 0 if x.outside else used[t]
        for slot in range(x.top_k):
            if ends.columns[b, begin + t, h, slot] >= 0:
                mean += ends.gates[b, begin + t, h, slot] * d_gates[here + t, slot]
        for slot in range(x.top_k):
            column = ends.columns[b, begin + t, h, slot]
            if column >= 0:
                gate = ends.gates[b, begin + t, h, slot]
                weight = gate * (d_gates[here + t, slot] - mean) * scale
                u, context = layer.gates.u[t], layer.gates.contexts[column]
                _meet(u, context, weight, layer.du[t], layer.d_contexts[column])
        used[t] = 0 if x.outside else (used[t] - share[t] * mean) * scale


@apart
def _meet(u: Any, context: Any, weight: Any, du: Any, d_context: Any) -> None:
    """A logit's gradient reaches u and the context."""
    for j in range(u.shape[0]):
        du[j] += weight * context[j]
        d_context[j] += weight * u[j]
