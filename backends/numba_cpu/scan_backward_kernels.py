"""Scan of matrix memories backwards: segments from the last, each replayed from its checkpoint."""

from typing import Any

from mcore.backends.numba_cpu.blocks import (
    add,
    clear,
    copy,
    load_rows,
    store_rows,
    store_scalars,
)
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.chunk import chunk_backward, chunk_write
from mcore.backends.numba_cpu.decay import log_decay_gradient
from mcore.backends.numba_cpu.delta import correct, correct_backward
from mcore.backends.numba_cpu.prefetch import prefetch_rows
from mcore.backends.numba_cpu.scan_work import load_chunk, segment_start


@kernel
def scan_backward_kernel(span: Any, x: Any, work: Any, given: Any, gradients: Any) -> None:
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
                _replay(x, (b, h, first, last), fresh, work)
                _segment_backward(x, (b, h, first, last), (fresh, d_reads), work, gradients)
                if fresh:
                    clear(work.d_state)
        if x.carry.size:
            copy(work.d_state, gradients.carry[b, h])


@device
def _replay(x: Any, segment: Any, fresh: bool, work: Any) -> None:
    """Fill `states`, `written` and `errors`, beginning with the state in `states[0]`."""
    b, h, first, last = segment
    chunk, scratch, rows = work.chunk, work.scratch, work.dy.shape[0]
    corrects = x.beta.size > 0
    for begin in range(first, last, rows):
        i = (begin - first) // rows
        if begin + rows >= last and not corrects:
            return
        load_chunk(x, (b, h, begin, min(rows, last - begin)), chunk, scratch)
        if corrects:
            correct(chunk, work.states[i], fresh and i == 0, scratch, work.errors[i])
            copy(chunk.v, work.written[i])
        if begin + rows < last:
            copy(work.states[i], work.states[i + 1])
            chunk_write(chunk, work.states[i + 1], scratch)


@device
def _segment_backward(x: Any, segment: Any, given: Any, work: Any, gradients: Any) -> None:
    """The chunks of a segment, from the last; `work.d_state` goes from its end to its start."""
    b, h, first, last = segment
    fresh, d_reads = given
    chunk, scratch, out, rows = work.chunk, work.scratch, work.out, work.dy.shape[0]
    for i in range((last - first - 1) // rows, -1, -1):
        begin = first + i * rows
        place = (b, h, begin, min(rows, last - begin))
        for source in (x.q, x.k, x.v, d_reads):
            prefetch_rows(source, (b, h, begin - rows, rows))
        for target in (gradients.q, gradients.k, gradients.v):
            prefetch_rows(target, place)
        load_chunk(x, place, chunk, scratch)
        load_rows(d_reads, place, work.dy)
        if x.beta.size:
            copy(work.written[i], chunk.v)
        start = (work.states[i], fresh and i == 0, True)
        whole = chunk_backward(chunk, start, work.dy, work.d_state, scratch, out)
        if x.beta.size:
            correct_backward(chunk, start[1], work.errors[i], work.d_state, scratch, out)
        store_chunk(out, whole, gradients, place)


@device
def store_chunk(out: Any, whole: Any, gradients: Any, place: Any) -> None:
    """Put a chunk's gradients into those of the scan; `whole` is that of the chunk's decay."""
    store_rows(out.q, gradients.q, place)
    store_rows(out.k, gradients.k, place)
    store_rows(out.v, gradients.v, place)
    if gradients.beta.size:
        store_scalars(out.beta, gradients.beta, place)
    if gradients.log_decay.size:
        log_decay_gradient(out.used, whole, out.log_decay)
        store_scalars(out.log_decay, gradients.log_decay, place)
