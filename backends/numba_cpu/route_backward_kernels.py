"""Gradients of routing: through the softmax block by block, then back along the running means."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.blocks import clear, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gemm import FULL, gemm
from mcore.backends.numba_cpu.route_contexts import divisor, start_sums
from mcore.backends.numba_cpu.visible import visible_columns


@kernel
def route_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`.

    given = (gates, contexts, d_gates, d_contexts);
    out = (du, dkeys, d_cached, d_before).
    """
    gates, contexts, d_gates, d_contexts = given
    heads, tokens, rows = x.u.shape[2], x.u.shape[1], work.u.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        _load_contexts(x, contexts, (b, h), work)
        clear(work.contexts_t)
        for begin in range(0, tokens, rows):
            place = (b, h, begin, min(rows, tokens - begin))
            _softmax_backward(x, place, work, (gates, d_gates), out[0])
        for i in range(x.cached.shape[1]):
            for j in range(x.cached.shape[3]):
                out[2][b, i, h, j] = 0 if x.detach else work.contexts_t[j, i]
        for s in range(x.first.shape[1]):
            if x.bounds[b, s] < x.bounds[b, s + 1]:
                _means_backward(x, (b, h, s), work, d_contexts, out)


@device
def _load_contexts(x: Any, contexts: Any, place: Any, work: Any) -> None:
    b, h = place
    cached = x.cached.shape[1]
    for i in range(work.contexts.shape[0]):
        for j in range(work.contexts.shape[1]):
            work.contexts[i, j] = (
                x.cached[b, i, h, j] if i < cached else contexts[b, i - cached, h, j]
            )


@device
def _softmax_backward(x: Any, place: Any, work: Any, given: Any, du: Any) -> None:
    """du of a block, its part of the contexts' gradient, and gradients of the online logits."""
    b, h, begin, n = place
    gates, d_gates = given
    _, high = visible_columns(x, place, work.first, work.last)
    scale = 1 / np.sqrt(x.u.dtype.type(x.u.shape[3]))
    clear(work.logits)
    for t in range(n):
        gate, d_gate, mean = gates[b, begin + t, h], d_gates[b, begin + t, h], scale * 0
        for i in range(gate.shape[0] - x.outside):
            mean += gate[i] * d_gate[i]
        for i in range(work.first[t], work.last[t]):
            work.logits[t, i] = gate[i] * (d_gate[i] - mean) * scale
        online = gate[-1] * (d_gate[-1] - mean) * scale
        work.online[begin + t] = 0 if x.outside else online
    clear(work.du)
    if high > 0:
        load_rows(x.u, place, work.u)
        gemm(work.logits[:, :high], work.contexts[:high], work.du, 1.0, 0, FULL)
        gemm(work.u.T, work.logits[:, :high], work.contexts_t[:, :high], 1.0, 1, FULL)
    store_rows(work.du, du, place)


@device
def _means_backward(x: Any, place: Any, work: Any, d_contexts: Any, out: Any) -> None:
    """Through the running means of segment `place` = (b, h, s): on for u, back for the keys."""
    b, h, s = place
    du, d_keys, _, d_before = out
    first, last = x.bounds[b, s], x.bounds[b, s + 1]
    sums, count = work.sums, start_sums(x, place, work.sums)
    for t in range(first, last):
        count += 1
        weight = work.online[t] / divisor(x, count)
        for j in range(sums.shape[0]):
            sums[j] += x.keys[b, t, h, j]
            du[b, t, h, j] += weight * sums[j]
    _end_gradient(x, place, work, d_contexts, count)
    for t in range(last - 1, first - 1, -1):
        weight = work.online[t] / divisor(x, count)
        for j in range(sums.shape[0]):
            sums[j] += weight * x.u[b, t, h, j]
            d_keys[b, t, h, j] = sums[j]
        count -= 1
    if s == 0:
        for j in range(sums.shape[0]):
            d_before[b, h, j] = sums[j]


@device
def _end_gradient(x: Any, place: Any, work: Any, d_contexts: Any, count: int) -> None:
    """Gradient of the key sum at the end of a segment, in `work.sums`."""
    b, h, s = place
    column = x.cached.shape[1] + s
    for j in range(work.sums.shape[0]):
        total = d_contexts[b, s, h, j]
        if column < work.contexts_t.shape[1] and not x.detach:
            total += work.contexts_t[j, column]
        work.sums[j] = total / divisor(x, count)
