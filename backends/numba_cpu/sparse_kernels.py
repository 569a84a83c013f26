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
from mcore.backends.numba_cpu.select import select_best
from mcore.backends.numba_cpu.sparse_groups import bucket, group_end


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
    choice, begin, last = work.choice, x.scan.bounds[b, first], x.scan.bounds[b, end]
    for s in range(first, end):
        if x.scan.bounds[b, s] < x.scan.bounds[b, s + 1]:
            _segment(x, (b, h, s), begin, work, out)
    bucket(out.columns, (b, h, begin, last), choice.offsets, choice.entries)
    for column in range(choice.offsets.shape[0] - 1):
        _answer_readers(x, (b, h, column), choice, out.states)
    store_rows(choice.answers[: last - begin], out.y, (b, h, begin, last - begin))


@device
def _segment(x: Any, place: Any, base: int, work: Any, out: Any) -> None:
    """Online answers, weighted, and choices of segment `place` = (b, h, s) of the group that begins
    with token `base`."""
    b, h, s = place
    layer, choice = work.layer, work.choice
    first, last, rows = x.scan.bounds[b, s], x.scan.bounds[b, s + 1], layer.u.shape[0]
    fresh, count = open_segment(x, place, layer, out)
    for begin in range(first, last, rows):
        n = min(rows, last - begin)
        tokens, here = (b, h, begin, n), begin - base
        answer_chunk(x, tokens, (fresh and begin == first, True), layer)
        _choose(x, s, (tokens, count + begin - first), work)
        _store_choice(tokens, here, work, out)
        scale_rows(layer.scan.y[:n], layer.share, choice.answers[here : here + n])
        copy(layer.scan.chunk.q[:n], choice.queries[here : here + n])
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
    select_best(logits, first, choice.best, choice.columns, choice.bound)
    used = choice.best[: min(last - first, x.top_k)]
    chunk_softmax(used, layer.online, x.outside, layer.share, layer.lse)


@device
def _store_choice(tokens: Any, here: int, work: Any, out: Any) -> None:
    """What the tokens of a chunk read, and their gates; `here`: their place in the group."""
    b, h, begin, n = tokens
    choice, share = work.choice, work.layer.share
    for t in range(n):
        out.share[b, begin + t, h] = share[t]
        for slot in range(choice.best.shape[0]):
            column = choice.columns[slot, t]
            out.columns[b, begin + t, h, slot] = column
            gate = choice.best[slot, t] if column >= 0 else share[t] * 0
            out.gates[b, begin + t, h, slot] = gate
            choice.gates[here + t, slot] = gate


@device
def _answer_readers(x: Any, place: Any, choice: Any, states: Any) -> None:
    """Add what checkpoint `place` = (b, h, column) answers to all tokens that read it."""
    b, h, column = place
    cached, rows = x.stock.states.shape[1], choice.q.shape[0]
    end = choice.offsets[column + 1]
    for begin in range(choice.offsets[column], end, rows):
        n = min(rows, end - begin)
        tokens, slots = choice.entries[0, begin : begin + n], choice.entries[1, begin : begin + n]
        gather(choice.queries, tokens, choice.q)
        for i in range(n):
            choice.weights[i] = choice.gates[tokens[i], slots[i]]
        q, y = choice.q[:n], choice.y[:n]
        if column < cached:
            gemm(q, x.stock.states[b, column, h], y, choice.weights, 0, FULL)
        else:
            gemm(q, states[b, column - cached, h], y, choice.weights, 0, FULL)
        scatter(y, tokens, choice.answers)


@device
def gather(source: Any, tokens: Any, block: Any) -> None:
    """`block[i] = source[tokens[i]]`."""
    for i in range(tokens.shape[0]):
        t = tokens[i]
        for j in range(block.shape[1]):
            block[i, j] = source[t, j]


@device
def scatter(block: Any, tokens: Any, target: Any) -> None:
    """`target[tokens[i]] += block[i]`."""
    for i in range(tokens.shape[0]):
        t = tokens[i]
        for j in range(block.shape[1]):
            target[t, j] += block[i, j]
