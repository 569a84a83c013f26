"""A layer whose tokens read their best checkpoints only, backwards: readers first, then chunks.

For the readers of one checkpoint,

    X = dY S^T        dw = <q, X>        dQ += w . X        dS = (w . Q)^T dY
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import clear, copy_vector, load_rows, row_dot
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
from mcore.backends.numba_cpu.sparse_groups import bucket, group_begin
from mcore.backends.numba_cpu.sparse_kernels import gather, scatter


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
    ends, choice, begin = given[0], work.choice, x.scan.bounds[b, first]
    count = x.scan.bounds[b, end] - begin
    load_rows(x.scan.q, (b, h, begin, count), choice.queries[:count])
    load_rows(given[1], (b, h, begin, count), choice.answers[:count])
    clear(choice.d_queries[:count])
    bucket(ends.columns, (b, h, begin, begin + count), choice.offsets, choice.entries)
    for column in range(work.layer.d_states.shape[0]):
        d_state = work.layer.d_states[column]
        _readers_backward(x, (b, h, column), (begin, ends), choice, d_state)
    for s in range(end - 1, first - 1, -1):
        if x.scan.bounds[b, s] < x.scan.bounds[b, s + 1]:
            _segment_backward(x, (b, h, s, begin), work, given, out)


@device
def _readers_backward(x: Any, place: Any, given: Any, choice: Any, d_state: Any) -> None:
    """Checkpoint `place` = (b, h, column) and all tokens of a group that read it.

    given = (the group's first token, `SparseOutputs`).
    """
    b, h, column = place
    base, ends = given
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
        gather(choice.queries, tokens, choice.q)
        gather(choice.answers, tokens, choice.dy)
        gemm(choice.dy[:n], choice.state_t, choice.dq[:n], 1.0, 0, FULL)
        for i in range(n):
            choice.weights[i] = ends.gates[b, base + tokens[i], h, slots[i]]
            choice.gates[tokens[i], slots[i]] = row_dot(choice.q, choice.dq, i)
        _weigh(n, choice)
        scatter(choice.dq, tokens, choice.d_queries)
        gemm(choice.q[:n].T, choice.dy[:n], d_state, 1.0, 1, FULL)


@device
def _weigh(n: int, choice: Any) -> None:
    for i in range(n):
        weight = choice.weights[i]
        for j in range(choice.q.shape[1]):
            choice.dq[i, j] *= weight
            choice.q[i, j] *= weight


@device
def _segment_backward(x: Any, place: Any, work: Any, given: Any, out: Any) -> None:
    """The chunks of segment s, `place` = (b, h, s, first token of the group); `d_state` goes from
    its end to its start."""
    b, h, s, base = place
    layer, ends = work.layer, given[0]
    first, last, rows = x.scan.bounds[b, s], x.scan.bounds[b, s + 1], layer.du.shape[0]
    fresh = True
    if not x.given:
        fresh = segment_start(x.scan, ends.states, (b, h, s), layer.scan.states[0])
    count = replay(x, (b, h, s), fresh, layer)
    end_gradients(x, (b, h, s), count + last - first, layer, given)
    for i in range((last - first - 1) // rows, -1, -1):
        begin = first + i * rows
        tokens = (b, h, begin, min(rows, last - begin))
        chunk = (i, begin + rows >= last, fresh and i == 0, count + begin - first, base)
        sparse_chunk_backward(x, tokens, chunk, work, given, out)
    if fresh:
        clear(layer.scan.d_state)
    if s == 0:
        copy_vector(layer.d_sums, out.stock.keys[b, h])
