"""Scan of memories with a decay per key channel: for each row and head, chunk after chunk."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import add, clear, copy, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.channel_chunk import (
    CHANNEL_ROWS,
    channel_answers,
    channel_write,
    load_channel_chunk,
    make_chunk,
)
from mcore.backends.numba_cpu.channel_chunk_backward import channel_backward, make_gradient
from mcore.backends.numba_cpu.scan_work import ScanInputs, segment_start


class ChannelWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        chunk: tokens of a chunk.
        out: their gradients.
        y: (n, V) answers or their gradient.
        d_state: (K, V).
        states: (chunks, K, V) the state before each chunk of a segment; forward needs one.
    """

    chunk: Any
    out: Any
    y: Any
    d_state: Any
    states: Any


def forward_work(x: ScanInputs) -> ChannelWork:
    """Work arrays of one thread for `channel_scan_kernel`."""
    return _work(x, 1)


def backward_work(x: ScanInputs) -> ChannelWork:
    """Work arrays of one thread for `channel_backward_kernel`."""
    longest = int(np.diff(x.bounds, axis=1).max())
    return _work(x, -(-longest // CHANNEL_ROWS))


def _work(x: ScanInputs, chunks: int) -> ChannelWork:
    keys, values, dtype = x.q.shape[3], x.v.shape[3], x.q.dtype
    chunk = make_chunk(CHANNEL_ROWS, keys, values, dtype)
    states = np.empty((chunks, keys, values), dtype)
    return ChannelWork(
        chunk, make_gradient(chunk), np.empty_like(chunk.v), np.empty_like(states[0]), states
    )


@kernel
def channel_scan_kernel(span: Any, x: Any, work: Any, reads: Any, checkpoints: Any) -> None:
    """Reads (B, T, H, V) and checkpoints (B, S, H, K, V) for the tasks (row, head) in `span`."""
    heads, state = x.q.shape[2], work.states[0]
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
    chunk, state = work.chunk, work.states[0]
    for begin in range(first, last, CHANNEL_ROWS):
        place = (b, h, begin, min(CHANNEL_ROWS, last - begin))
        load_channel_chunk(x, place, chunk)
        channel_answers(chunk, state, fresh and begin == first, work.out.whole, work.y)
        channel_write(chunk, state)
        store_rows(work.y, reads, place)


@kernel
def channel_backward_kernel(span: Any, x: Any, work: Any, given: Any, gradients: Any) -> None:
    """Gradients for the tasks (row, head) in `span`; given: checkpoints, d_reads, d_checkpoints."""
    checkpoints, d_reads, d_checkpoints = given
    heads = x.q.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        clear(work.d_state)
        for s in range(x.restart.shape[1] - 1, -1, -1):
            first, last = x.bounds[b, s], x.bounds[b, s + 1]
            if first < last:
                add(d_checkpoints[b, s, h], work.d_state)
                fresh = segment_start(x, checkpoints, (b, h, s), work.states[0])
                _replay(x, (b, h, first, last), work)
                _segment_backward(x, (b, h, first, last), (fresh, d_reads), work, gradients)
                if fresh:
                    clear(work.d_state)
        if x.carry.size:
            copy(work.d_state, gradients.carry[b, h])


@device
def _replay(x: Any, segment: Any, work: Any) -> None:
    """Fill `states`, beginning with the state in `states[0]`."""
    b, h, first, last = segment
    for begin in range(first, last - CHANNEL_ROWS, CHANNEL_ROWS):
        i = (begin - first) // CHANNEL_ROWS
        load_channel_chunk(x, (b, h, begin, CHANNEL_ROWS), work.chunk)
        copy(work.states[i], work.states[i + 1])
        channel_write(work.chunk, work.states[i + 1])


@device
def _segment_backward(x: Any, segment: Any, given: Any, work: Any, gradients: Any) -> None:
    """The chunks of a segment, from the last; `work.d_state` goes from its end to its start."""
    b, h, first, last = segment
    fresh, d_reads = given
    out = work.out
    for i in range((last - first - 1) // CHANNEL_ROWS, -1, -1):
        begin = first + i * CHANNEL_ROWS
        place = (b, h, begin, min(CHANNEL_ROWS, last - begin))
        load_channel_chunk(x, place, work.chunk)
        load_rows(d_reads, place, work.y)
        start = (work.states[i], fresh and i == 0)
        channel_backward(work.chunk, start, work.y, work.d_state, out)
        store_rows(out.q, gradients.q, place)
        store_rows(out.k, gradients.k, place)
        store_rows(out.v, gradients.v, place)
        store_rows(out.log_decay, gradients.log_decay, place)
