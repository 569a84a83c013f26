"""A whole layer whose tokens read their best checkpoints only: two passes over groups of segments.

First the online memory, gates and choices, chunk after chunk; then each checkpoint answers all of
its readers, gathered, in one matrix product after another.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import copy, load_rows, scale_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.fused_gates import chunk_logits, chunk_softmax
from mcore.backends.numba_cpu.fused_kernels import answer_chunk, open_segment, settle_segment
from mcore.backends.numba_cpu.fused_pool import pool_logits
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.prefetch import prefetch_row
from mcore.backends.numba_cpu.sparse_select import bucket, group_end, select_best

AHEAD = 8
"""Rows between the one that is copied and the one that is asked for."""


@kernel
def sparse_kernel(span: Any, x: Any, work: Any, out: Any) -> None:
    """Fill `out` for the tasks (row, head) in `span`."""
    heads, layer = x.u.shape[2], work.layer
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        copy(x.stock.contexts[b, :, h], layer.contexts)
        s = 0
        while s < x.first.shape[1]:
            end = group_end(x, b, s)
            _group(x, (b, h, s, end), work, out)
            s = end


@device
def _group(x: Any, place: Any, work: Any, out: Any) -> None:
    """The segments of `place` = (b, h, first, end), then the readers among their tokens."""
    b, h, first, end = place
    choice = work.choice
    for s in range(first, end):
        if x.scan.bounds[b, s] < x.scan.bounds[b, s + 1]:
            _segment(x, (b, h, s), work, out)
    tokens = (b, h, x.scan.bounds[b, first], x.scan.bounds[b, end])
    bucket(out.columns, tokens, choice.offsets, choice.entries)
    for column in range(choice.offsets.shape[0] - 1):
        _answer_readers(x, (b, h, column), choice, out)


@device
def _segment(x: Any, place: Any, work: Any, out: Any) -> None:
    """Online answers, weighted, and choices of segment `place` = (b, h, s)."""
    b, h, s = place
    layer = work.layer
    first, last, rows = x.scan.bounds[b, s], x.scan.bounds[b, s + 1], layer.u.shape[0]
    fresh, count = open_segment(x, place, layer, out)
    for begin in range(first, last, rows):
        tokens = (b, h, begin, min(rows, last - begin))
        answer_chunk(x, tokens, fresh and begin == first, layer)
        _choose(x, s, (tokens, count + begin - first), work)
        _store_choice(tokens, work, out)
        scale_rows(layer.scan.y, layer.share, layer.scan.y)
        store_rows(layer.scan.y, out.y, tokens)
    settle_segment(x, place, count + last - first, layer, out)


@device
def _choose(x: Any, s: int, tokens: Any, work: Any) -> None:
    """The best checkpoints of a chunk and their gates; tokens = (place, those before it)."""
    layer, choice = work.layer, work.choice
    where, count = tokens
    b, n = where[0], where[3]
    load_rows(x.u, where, layer.u)
    transpose(layer.u, layer.u_t)
    pool_logits(x, (n, layer.scan.chunk.k, layer.u), count, layer.sums, layer.online)
    first, last = x.first[b, s], x.last[b, s]
    logits = layer.weights[first:last]
    chunk_logits(layer.contexts[first:last], layer.u_t, logits)
    select_best(logits, first, choice.best, choice.columns)
    used = choice.best[: min(last - first, x.top_k)]
    chunk_softmax(used, layer.online, x.outside, layer.share, layer.lse)


@device
def _store_choice(tokens: Any, work: Any, out: Any) -> None:
    b, h, begin, n = tokens
    choice, share = work.choice, work.layer.share
    for t in range(n):
        out.share[b, begin + t, h] = share[t]
        for slot in range(choice.best.shape[0]):
            column = choice.columns[slot, t]
            out.columns[b, begin + t, h, slot] = column
            gate = choice.best[slot, t] if column >= 0 else share[t] * 0
            out.gates[b, begin + t, h, slot] = gate


@device
def _answer_readers(x: Any, place: Any, choice: Any, out: Any) -> None:
    """Add the answers of checkpoint `place` = (b, h, column) to y of all tokens that read it."""
    b, h, column = place
    cached, rows = x.stock.states.shape[1], choice.q.shape[0]
    end = choice.offsets[column + 1]
    for begin in range(choice.offsets[column], end, rows):
        n = min(rows, end - begin)
        tokens, slots = choice.entries[0, begin : begin + n], choice.entries[1, begin : begin + n]
        gather(x.scan.q, (b, h), tokens, choice.q)
        fetch(out.y, (b, h), tokens)
        for i in range(n):
            choice.weights[i] = out.gates[b, tokens[i], h, slots[i]]
        if column < cached:
            _answer(x.stock.states[b, column, h], n, choice)
        else:
            _answer(out.states[b, column - cached, h], n, choice)
        scatter(choice.y, (b, h), tokens, out.y)


@device
def _answer(state: Any, n: int, choice: Any) -> None:
    gemm(choice.q[:n], state, choice.y[:n], choice.weights, 0, FULL)


@device
def gather(source: Any, place: Any, tokens: Any, block: Any) -> None:
    """`block[i] = source[b, tokens[i], h]`; place = (b, h)."""
    b, h = place
    count = tokens.shape[0]
    for i in range(count):
        prefetch_row(source[b, tokens[min(i + AHEAD, count - 1)], h])
        t = tokens[i]
        for j in range(block.shape[1]):
            block[i, j] = source[b, t, h, j]


@device
def fetch(target: Any, place: Any, tokens: Any) -> None:
    """Ask for the rows that `scatter` will add to; place = (b, h)."""
    b, h = place
    for i in range(tokens.shape[0]):
        prefetch_row(target[b, tokens[i], h])


@device
def scatter(block: Any, place: Any, tokens: Any, target: Any) -> None:
    """`target[b, tokens[i], h] += block[i]`; place = (b, h)."""
    b, h = place
    for i in range(tokens.shape[0]):
        t = tokens[i]
        for j in range(block.shape[1]):
            target[b, t, h, j] += block[i, j]
