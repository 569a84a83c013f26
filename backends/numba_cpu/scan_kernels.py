"""Scan of matrix memories: for each row and head, chunk after chunk."""

from typing import Any

from mcore.backends.numba_cpu.blocks import copy, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.chunk import chunk_answers, chunk_write
from mcore.backends.numba_cpu.delta import correct
from mcore.backends.numba_cpu.prefetch import prefetch_rows
from mcore.backends.numba_cpu.scan_work import load_chunk, segment_start


@kernel
def scan_kernel(span: Any, x: Any, work: Any, reads: Any, checkpoints: Any) -> None:
    """Reads (B, T, H, V) and checkpoints (B, S, H, K, V) for the tasks (row, head) in `span`."""
    heads = x.q.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        for s in range(x.restart.shape[1]):
            first, last = x.bounds[b, s], x.bounds[b, s + 1]
            if first < last:
                fresh = segment_start(x, checkpoints, (b, h, s), work.state)
                _scan_segment(x, (b, h, first, last), fresh, work, reads)
                copy(work.state, checkpoints[b, s, h])


@device
def _scan_segment(x: Any, segment: Any, fresh: bool, work: Any, reads: Any) -> None:
    """The tokens of `segment` = (b, h, first, last), from `work.state`, which goes to its end."""
    b, h, first, last = segment
    chunk, scratch, y, errors, state = work
    rows = y.shape[0]
    for begin in range(first, last, rows):
        place = (b, h, begin, min(rows, last - begin))
        for source in (x.q, x.k, x.v):
            prefetch_rows(source, (b, h, begin + rows, rows))
        load_chunk(x, place, chunk, scratch)
        if x.beta.size:
            correct(chunk, state, fresh and begin == first, scratch, errors)
        chunk_answers(chunk, state, not (fresh and begin == first), scratch, y)
        chunk_write(chunk, state, scratch)
        store_rows(y, reads, place)
