"""Scan of memories with a decay per key channel: for each row and head, chunk after chunk."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import add, clear, copy, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.channel_chunk import (
    channel_answers,
    channel_write,
    load_channel_chunk,
    make_chunk,
)
from mcore.backends.numba_cpu.channel_chunk_backward import channel_backward, make_gradient
from mcore.backends.numba_cpu.channel_levels import STRONG, STRONG_ROWS, choose_level
from mcore.backends.numba_cpu.channel_mild import (
    load_factors,
    load_scaled,
    mild_answers,
    mild_pairs,
    mild_write,
)
from mcore.backends.numba_cpu.channel_mild_backward import (
    end_backward,
    forget_nothing,
    mild_backward,
    store_log_decay,
    store_scaled,
    written_backward,
)
from mcore.backends.numba_cpu.channel_work import course, mild_work
from mcore.backends.numba_cpu.prefetch import prefetch_rows
from mcore.backends.numba_cpu.scan_work import ScanInputs, segment_start


class ChannelWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        mild: chunks of every level.
        course: chunks of a segment.
        strong: a chunk without divisions.
        out: its gradients.
        y: (n, V) its answers or their gradient.
    """

    mild: Any
    course: Any
    strong: Any
    out: Any
    y: Any


def forward_work(x: ScanInputs) -> ChannelWork:
    """Work arrays of one thread for `channel_scan_kernel`."""
    return _work(x, backward=False)


def backward_work(x: ScanInputs) -> ChannelWork:
    """Work arrays of one thread for `channel_backward_kernel`."""
    return _work(x, backward=True)


def _work(x: ScanInputs, backward: bool) -> ChannelWork:
    chunk = make_chunk(STRONG_ROWS, x.q.shape[3], x.v.shape[3], x.q.dtype)
    out, y = make_gradient(chunk), np.empty_like(chunk.v)
    return ChannelWork(mild_work(x, 1, backward), course(x, backward), chunk, out, y)


@kernel
def channel_scan_kernel(span: Any, x: Any, work: Any, reads: Any, checkpoints: Any) -> None:
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
        place, empty = (b, h, begin, n), fresh and begin == first
        for source in (x.q, x.k, x.v, x.log_decay):
            prefetch_rows(source, (b, h, begin + n, n))
        _load(x, place, level, work)
        if level == STRONG:
            channel_answers(work.strong, state, empty, work.out.whole, work.y)
            store_rows(work.y, reads, place)
            channel_write(work.strong, state)
        else:
            chunk = work.mild.chunks[level]
            mild_pairs(chunk)
            mild_answers(chunk, state, empty)
            store_rows(chunk.y[0], reads, place)
            mild_write(chunk, state)
        begin += n


@device
def _load(x: Any, place: Any, level: int, work: Any) -> None:
    """The tokens at `place` = (b, h, begin, n) into the chunk of their level."""
    if level == STRONG:
        load_channel_chunk(x, place, work.strong)
    else:
        chunk = work.mild.chunks[level]
        load_factors(x.log_decay, place, chunk)
        load_scaled(x.q, place, chunk.since, chunk.left[0])
        load_scaled(x.k, place, chunk.inverse, chunk.right[0])
        load_rows(x.v, place, chunk.written[0])


@kernel
def channel_backward_kernel(span: Any, x: Any, work: Any, given: Any, gradients: Any) -> None:
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
                chunks = _replay(x, (b, h, first, last), checkpoints[b, s, h], work)
                for i in range(chunks - 1, -1, -1):
                    _chunk_backward(x, (b, h, i), (d_reads, fresh), work, gradients)
                if fresh:
                    clear(d_state)
        if x.carry.size:
            copy(d_state, gradients.carry[b, h])


@device
def _replay(x: Any, segment: Any, end: Any, work: Any) -> int:
    """Fill the course of a segment, from the state in `states[0]` on; returns its chunks."""
    b, h, first, last = segment
    course, begin, i = work.course, first, 0
    course.begins[0] = first
    while begin < last:
        left = (b, h, begin, last - begin)
        level, n = choose_level(x.log_decay, left, work.mild.rows, work.mild.scratch)
        if begin + n < last:
            _load(x, (b, h, begin, n), level, work)
            copy(course.states[i], course.states[i + 1])
            if level == STRONG:
                channel_write(work.strong, course.states[i + 1])
            else:
                mild_write(work.mild.chunks[level], course.states[i + 1])
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
    start = (course.states[i], fresh and i == 0)
    for source in (x.q, x.k, x.v, x.log_decay, d_reads):
        prefetch_rows(source, (b, h, begin - place[3], place[3]))
    for target in (gradients.q, gradients.k, gradients.v, gradients.log_decay):
        prefetch_rows(target, place)
    _load(x, place, level, work)
    if level == STRONG:
        load_rows(d_reads, place, work.y)
        channel_backward(work.strong, start, work.y, course.d_state, work.out)
        _store_strong(work.out, place, gradients)
    else:
        chunk, out = work.mild.chunks[level], work.mild.out[level]
        load_rows(d_reads, place, chunk.y[0])
        mild_pairs(chunk)
        end_backward(chunk, course.states[i + 1], course.d_state, out)
        written_backward(chunk, course.d_state, (0, 1), out)
        mild_backward(chunk, start, course.d_state, out)
        _store_mild(chunk, out, place, gradients)
        if start[1]:
            forget_nothing(gradients.log_decay[b, begin, h])


@device
def _store_strong(out: Any, place: Any, gradients: Any) -> None:
    store_rows(out.q, gradients.q, place)
    store_rows(out.k, gradients.k, place)
    store_rows(out.v, gradients.v, place)
    store_rows(out.log_decay, gradients.log_decay, place)


@device
def _store_mild(chunk: Any, out: Any, place: Any, gradients: Any) -> None:
    store_scaled(out.left[0], chunk.since, gradients.q, place)
    store_scaled(out.right[0], chunk.inverse, gradients.k, place)
    store_rows(out.written[0], gradients.v, place)
    store_log_decay(chunk, out, gradients.log_decay, place)
