"""Scan of RWKV-7's memory: for each row and head, chunk after chunk.

Backward replays a segment: the states between its chunks are kept.
"""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.blocks import add, clear, copy, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.channel_levels import STRONG, choose_level
from mcore.backends.numba_cpu.channel_mild import mild_answers, mild_write
from mcore.backends.numba_cpu.channel_mild_backward import forget_nothing
from mcore.backends.numba_cpu.channel_work import course, mild_work
from mcore.backends.numba_cpu.prefetch import prefetch_rows
from mcore.backends.numba_cpu.rwkv7_chunk import (
    load_removing,
    remove,
    removing_backward,
    store_removing,
)
from mcore.backends.numba_cpu.rwkv7_tokens import (
    token_work,
    tokens_answer,
    tokens_backward,
    tokens_write,
)
from mcore.backends.numba_cpu.scan_work import segment_start


class RwkvInputs(NamedTuple):
    """Arrays of a scan, as in `ScanInputs`; log_decay, kk, a (B, T, H, K)."""

    q: Any
    k: Any
    v: Any
    log_decay: Any
    kk: Any
    a: Any
    carry: Any
    bounds: Any
    restart: Any


class RwkvGradients(NamedTuple):
    """Gradients in the order and shapes of the first seven `RwkvInputs`."""

    q: Any
    k: Any
    v: Any
    log_decay: Any
    kk: Any
    a: Any
    carry: Any


class RwkvWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        mild: chunks of every level.
        course: chunks of a segment.
        tokens: of strong tokens.
    """

    mild: Any
    course: Any
    tokens: Any


def forward_work(x: RwkvInputs) -> RwkvWork:
    """Work arrays of one thread for `rwkv7_kernel`."""
    return RwkvWork(mild_work(x, 2, False), course(x, False), token_work(x, False))


def backward_work(x: RwkvInputs) -> RwkvWork:
    """Work arrays of one thread for `rwkv7_backward_kernel`."""
    return RwkvWork(mild_work(x, 2, True), course(x, True), token_work(x, True))


@kernel
def rwkv7_kernel(span: Any, x: Any, work: Any, reads: Any, checkpoints: Any) -> None:
    """Reads (B, T, H, V) and checkpoints (B, S, H, K, V) for the tasks (row, head) in `span`."""
    heads, state = x.q.shape[2], work.course.states[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        for s in range(x.restart.shape[1]):
            first, last = x.bounds[b, s], x.bounds[b, s + 1]
            if first < last:
                fresh = segment_start(x, checkpoints, (b, h, s), state)
                _scan_segment(x, (b, h, first, last), fresh, work, reads)
                copy(state, checkpoints[b, s, h])


@device
def _scan_segment(x: Any, segment: Any, fresh: bool, work: Any, reads: Any) -> None:
    """The tokens of `segment` = (b, h, first, last), from `states[0]`, which goes to its end."""
    b, h, first, last = segment
    state, begin = work.course.states[0], first
    while begin < last:
        left = (b, h, begin, last - begin)
        level, n = choose_level(x.log_decay, left, work.mild.rows, work.mild.scratch)
        place = (b, h, begin, n)
        if level == STRONG:
            tokens_answer(x, place, state, work.tokens, reads)
        else:
            chunk, empty = work.mild.chunks[level], fresh and begin == first
            for source in (x.q, x.k, x.v, x.log_decay, x.kk, x.a):
                prefetch_rows(source, (b, h, begin + n, n))
            load_removing(x, place, chunk)
            remove(chunk, state, empty)
            mild_answers(chunk, state, empty)
            mild_write(chunk, state)
            store_rows(chunk.y[0], reads, place)
        begin += n


@kernel
def rwkv7_backward_kernel(span: Any, x: Any, work: Any, given: Any, gradients: Any) -> None:
    """Gradients for the tasks (row, head) in `span`; given: checkpoints, d_reads, d_checkpoints."""
    checkpoints, d_reads, d_checkpoints = given
    heads, d_state = x.q.shape[2], work.course.d_state
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        clear(d_state)
        for s in range(x.restart.shape[1] - 1, -1, -1):
            first, last = x.bounds[b, s], x.bounds[b, s + 1]
            if first < last:
                add(d_checkpoints[b, s, h], d_state)
                fresh = segment_start(x, checkpoints, (b, h, s), work.course.states[0])
                chunks = _replay(x, (b, h, first, last), (checkpoints[b, s, h], fresh), work)
                for i in range(chunks - 1, -1, -1):
                    _chunk_backward(x, (b, h, i), (d_reads, fresh), work, gradients)
                if fresh:
                    clear(d_state)
        if x.carry.size:
            copy(d_state, gradients.carry[b, h])


@device
def _replay(x: Any, segment: Any, given: Any, work: Any) -> int:
    """Fill the course of a segment, from `states[0]` to its end; returns its chunks."""
    b, h, first, last = segment
    end, fresh = given
    course, begin, i = work.course, first, 0
    course.begins[0] = first
    while begin < last:
        left = (b, h, begin, last - begin)
        level, n = choose_level(x.log_decay, left, work.mild.rows, work.mild.scratch)
        if begin + n < last:
            place = (b, h, begin, n)
            copy(course.states[i], course.states[i + 1])
            if level == STRONG:
                tokens_write(x, place, course.states[i + 1], work.tokens)
            else:
                chunk = work.mild.chunks[level]
                load_removing(x, place, chunk)
                remove(chunk, course.states[i], fresh and i == 0)
                mild_write(chunk, course.states[i + 1])
        begin, i = begin + n, i + 1
        course.levels[i - 1], course.begins[i] = level, begin
    copy(end, course.states[i])
    return i


@device
def _chunk_backward(x: Any, chosen: Any, given: Any, work: Any, gradients: Any) -> None:
    """Chunk i of a segment, `chosen` = (b, h, i); `d_state` goes from its end to its start."""
    b, h, i = chosen
    d_reads, fresh = given
    course, level = work.course, work.course.levels[i]
    begin = course.begins[i]
    place = (b, h, begin, course.begins[i + 1] - begin)
    if level == STRONG:
        d = (d_reads, course.d_state, work.tokens)
        tokens_backward(x, place, course.states[i], d, gradients)
    else:
        chunk, out, empty = work.mild.chunks[level], work.mild.out[level], fresh and i == 0
        n = place[3]
        for source in (x.q, x.k, x.v, x.log_decay, x.kk, x.a, d_reads):
            prefetch_rows(source, (b, h, begin - n, n))
        for target in gradients[:6]:
            prefetch_rows(target, place)
        load_removing(x, place, chunk)
        load_rows(d_reads, place, chunk.y[0])
        removing_backward(chunk, course, i, empty, out)
        store_removing(x, place, chunk, out, gradients)
        if empty:
            forget_nothing(gradients.log_decay[b, begin, h])
