"""A layer whose tokens read their best checkpoints only, backwards: readers first, then chunks.

For the readers of one checkpoint,

    X = dY S^T        dw = <q, X>        dQ += w . X        dS = (w . Q)^T dY
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import clear, copy_vector, row_dot
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.fused_backward_kernels import (
    end_gradients,
    load_contexts,
    replay,
    stock_gradients,
)
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.scan_work import segment_start
from mcore.backends.numba_cpu.sparse_chunk_backward import sparse_chunk_backward
from mcore.backends.numba_cpu.sparse_kernels import fetch, gather, scatter
from mcore.backends.numba_cpu.sparse_select import bucket, group_begin


@kernel
def sparse_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`.

    given = (`SparseOutputs`, dy, d_states, d_contexts), the last two of the segments' ends, or with
    no elements.
    """
    heads, layer = x.u.shape[2], work.layer
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        load_contexts(x, given[0].contexts, (b, h), layer.gates.contexts)
        clear(layer.d_contexts)
        clear(layer.scan.d_state)
        for column in range(layer.d_states.shape[0]):
            clear(layer.d_states[column])
        end = x.first.shape[1]
        while end > 0:
            first = group_begin(x, b, end)
            _group_backward(x, (b, h, first, end), work, given, out)
            end = first
        stock_gradients(x, (b, h), layer, out)


@device
def _group_backward(x: Any, place: Any, work: Any, given: Any, out: Any) -> None:
    """The readers in segments `place` = (b, h, first, end), then the segments from the last."""
    b, h, first, end = place
    tokens = (b, h, x.scan.bounds[b, first], x.scan.bounds[b, end])
    clear(out.scan.q[b, tokens[2] : tokens[3], h])
    bucket(given[0].columns, tokens, work.choice.offsets, work.choice.entries)
    for column in range(work.layer.d_states.shape[0]):
        _readers_backward(x, (b, h, column), work, given, out)
    for s in range(end - 1, first - 1, -1):
        if x.scan.bounds[b, s] < x.scan.bounds[b, s + 1]:
            _segment_backward(x, (b, h, s), work, given, out)


@device
def _readers_backward(x: Any, place: Any, work: Any, given: Any, out: Any) -> None:
    """Checkpoint `place` = (b, h, column) and all tokens that read it."""
    b, h, column = place
    choice, ends, dy = work.choice, given[0], given[1]
    end, rows, cached = choice.offsets[column + 1], choice.q.shape[0], x.stock.states.shape[1]
    if choice.offsets[column] == end:
        return
    if column < cached:
        transpose(x.stock.states[b, column, h], choice.state_t)
    else:
        transpose(ends.states[b, column - cached, h], choice.state_t)
    for begin in range(choice.offsets[column], end, rows):
        n = min(rows, end - begin)
        tokens, slots = choice.entries[0, begin : begin + n], choice.entries[1, begin : begin + n]
        gather(x.scan.q, (b, h), tokens, choice.q)
        gather(dy, (b, h), tokens, choice.dy)
        fetch(out.scan.q, (b, h), tokens)
        gemm(choice.dy[:n], choice.state_t, choice.dq[:n], 1.0, 0, FULL)
        for i in range(n):
            choice.weights[i] = ends.gates[b, tokens[i], h, slots[i]]
            choice.d_gates[tokens[i], slots[i]] = row_dot(choice.q, choice.dq, i)
        _weigh(n, choice)
        scatter(choice.dq, (b, h), tokens, out.scan.q)
        gemm(choice.q[:n].T, choice.dy[:n], work.layer.d_states[column], 1.0, 1, FULL)


@device
def _weigh(n: int, choice: Any) -> None:
    for i in range(n):
        weight = choice.weights[i]
        for j in range(choice.q.shape[1]):
            choice.dq[i, j] *= weight
            choice.q[i, j] *= weight


@device
def _segment_backward(x: Any, place: Any, work: Any, given: Any, out: Any) -> None:
    """The chunks of segment `place` = (b, h, s); `d_state` goes from its end to its start."""
    b, h, s = place
    layer, ends = work.layer, given[0]
    first, last, rows = x.scan.bounds[b, s], x.scan.bounds[b, s + 1], layer.du.shape[0]
    fresh = True
    if not x.given:
        fresh = segment_start(x.scan, ends.states, place, layer.scan.states[0])
    count = replay(x, place, fresh, layer)
    end_gradients(x, place, count + last - first, layer, given)
    for i in range((last - first - 1) // rows, -1, -1):
        begin = first + i * rows
        tokens = (b, h, begin, min(rows, last - begin))
        chunk = (i, begin + rows >= last, fresh and i == 0, count + begin - first)
        sparse_chunk_backward(x, tokens, chunk, work, given, out)
    if fresh:
        clear(layer.scan.d_state)
    if s == 0:
        copy_vector(layer.d_sums, out.stock.keys[b, h])
