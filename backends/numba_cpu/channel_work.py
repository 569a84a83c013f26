"""Work arrays of one thread for scans with decays per channel."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.channel_levels import level_rows, most_chunks
from mcore.backends.numba_cpu.channel_mild import make_mild
from mcore.backends.numba_cpu.channel_mild_backward import make_mild_gradient


class MildWork(NamedTuple):
    """Chunks of every level.

    Attributes:
        rows: (levels,) tokens of a chunk.
        chunks: one chunk for each level.
        out: their gradients; none in forward.
        scratch: (2, K).
    """

    rows: Any
    chunks: Any
    out: Any
    scratch: Any


class Course(NamedTuple):
    """The chunks of a segment, and the memory between them.

    Attributes:
        begins, levels: (chunks + 1,) first token and level of each chunk.
        states: (chunks + 1, K, V) the memory before each chunk; forward needs one.
        d_state: (K, V) gradient of the memory.
    """

    begins: Any
    levels: Any
    states: Any
    d_state: Any


def mild_work(x: Any, number: int, backward: bool) -> MildWork:
    """For chunks with `number` pairs; `x` has q, v and bounds."""
    keys, values, dtype = x.q.shape[3], x.v.shape[3], x.q.dtype
    rows = level_rows(x.bounds)
    chunks = tuple(make_mild(number, int(n), keys, values, dtype) for n in rows)
    out = tuple(make_mild_gradient(chunk) for chunk in chunks) if backward else ()
    return MildWork(rows, chunks, out, np.empty((2, keys), dtype))


def course(x: Any, backward: bool) -> Course:
    """For the longest segment of `x`."""
    chunks = most_chunks(x.bounds) if backward else 0
    shape = (x.q.shape[3], x.v.shape[3])
    begins = np.empty(chunks + 1, np.int64)
    states = np.empty((chunks + 1, *shape), x.q.dtype)
    return Course(begins, begins.copy(), states, np.empty(shape, x.q.dtype))
