"""A whole routed memory layer in one pass: scan, gates and cached reads, chunk after chunk.

    y_t = g_t o_t + sum_i w_it S_i^T q_t

No array over tokens and checkpoints leaves a chunk: a forward keeps each token's log sum exp, from
which a backward makes the same gates again.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import (
    copy,
    copy_vector,
    load_rows,
    scale_rows,
    store_rows,
    store_scalars,
)
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.chunk import chunk_answers, chunk_write
from mcore.backends.numba_cpu.delta import correct
from mcore.backends.numba_cpu.fused_gates import chunk_logits, chunk_softmax
from mcore.backends.numba_cpu.fused_pool import divisor, pool_logits, start_pool
from mcore.backends.numba_cpu.fused_quotient import divide_gates, load_normalizers
from mcore.backends.numba_cpu.fused_start import APART, merge_start, start_column
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.prefetch import prefetch_rows
from mcore.backends.numba_cpu.scan_work import load_chunk, segment_start


@kernel
def layer_kernel(span: Any, x: Any, work: Any, out: Any) -> None:
    """Fill `out` for the tasks (row, head) in `span`."""
    heads = x.u.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        copy(x.stock.contexts[b, :, h], work.contexts)
        load_normalizers(x, b, h, work)
        for s in range(x.first.shape[1]):
            if x.scan.bounds[b, s] < x.scan.bounds[b, s + 1]:
                _segment(x, (b, h, s), work, out)


@device
def _segment(x: Any, place: Any, work: Any, out: Any) -> None:
    """The tokens of segment `place` = (b, h, s)."""
    b, h, s = place
    first, last, rows = x.scan.bounds[b, s], x.scan.bounds[b, s + 1], work.u.shape[0]
    fresh, count = open_segment(x, place, work, out)
    column = start_column(x, place)
    for begin in range(first, last, rows):
        tokens = (b, h, begin, min(rows, last - begin))
        prefetch_rows(out.y, tokens)
        merged = column != APART and begin == first
        answer_chunk(x, tokens, (fresh and begin == first, not merged), work)
        _route(x, place, (tokens, count + begin - first), work, out)
        if merged:
            merge_start(work.share, work.scan.chunk.decay.since, work.weights[column])
        _read(x, place, work, out)
        store_rows(work.scan.y, out.y, tokens)
    settle_segment(x, place, count + last - first, work, out)


@device
def open_segment(x: Any, place: Any, work: Any, out: Any) -> Any:
    """The memory and key sum with which segment `place` = (b, h, s) begins.

    Returns whether the memory is zero, and the tokens that the segment has seen before.
    """
    fresh = True
    if not x.given:
        fresh = segment_start(x.scan, out.states, place, work.scan.state)
    return fresh, start_pool(x, place, work.sums)


@device
def settle_segment(x: Any, place: Any, count: int, work: Any, out: Any) -> None:
    """Leave the end of a segment of `count` tokens in `out`, and where later ones find it."""
    b, h, s = place
    if not x.given:
        copy(work.scan.state, out.states[b, s, h])
    for j in range(work.sums.shape[0]):
        out.contexts[b, s, h, j] = work.sums[j] / divisor(x, count)
    column = x.stock.states.shape[1] + s
    if column < work.contexts.shape[0]:
        copy_vector(out.contexts[b, s, h], work.contexts[column])


@device
def answer_chunk(x: Any, tokens: Any, start: Any, work: Any) -> None:
    """The online memory's answers in `work.scan.y`; the memory goes to the end of the chunk.

    start = (it is zero, it is read here rather than as a checkpoint).
    """
    fresh, apart = start
    chunk, scratch, y, errors, state = work.scan
    b, h, begin, n = tokens
    for source in (x.scan.q, x.scan.k, x.scan.v, x.u):
        prefetch_rows(source, (b, h, begin + n, n))
    load_chunk(x.scan, tokens, chunk, scratch)
    if x.given:
        copy(chunk.v, y)
        return
    if x.scan.beta.size:
        correct(chunk, state, fresh, scratch, errors)
    chunk_answers(chunk, state, apart and not fresh, scratch, y)
    chunk_write(chunk, state, scratch)


@device
def _route(x: Any, place: Any, tokens: Any, work: Any, out: Any) -> None:
    """Gates of a chunk; tokens = (its place, the tokens of its segment before it)."""
    b, _, s = place
    where, count = tokens
    load_rows(x.u, where, work.u)
    transpose(work.u, work.u_t)
    n = where[3]
    pool_logits(x, (n, work.scan.chunk.k, work.u), count, work.sums, work.online)
    first, last = x.first[b, s], x.last[b, s]
    weights = work.weights[first:last]
    chunk_logits(work.contexts[first:last], work.u_t, weights)
    chunk_softmax(weights, work.online, x.outside, work.share, work.lse)
    store_scalars(work.online, out.online, where)
    store_scalars(work.lse, out.lse, where)


@device
def _read(x: Any, place: Any, work: Any, out: Any) -> None:
    """Weigh the online answers in `work.scan.y`, and add those of the checkpoints."""
    b, h, s = place
    q, y, cached = work.scan.chunk.q, work.scan.y, x.stock.states.shape[1]
    first, last = x.first[b, s], x.last[b, s]
    weights = work.weights
    if x.divisors.normalizers.size:
        divide_gates(x, place, q, work)
        weights = work.divided
    scale_rows(y, work.share, y)
    for column in range(first, min(last, cached)):
        gemm(q, x.stock.states[b, column, h], y, weights[column], 1, FULL)
    for column in range(max(first, cached), last):
        gemm(q, out.states[b, column - cached, h], y, weights[column], 1, FULL)
