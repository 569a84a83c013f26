"""Reads whose gates come from the answers themselves, a chunk of tokens against each checkpoint:

    o_i = Q S_i      g_i = sigmoid(O W_online + bias + o_i W_cached)      Y = O + sum_i g_i * o_i

with O the online memory's answers. Nothing over tokens and checkpoints leaves a chunk.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, copy, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import sigmoid
from mcore.backends.numba_cpu.gemm import FULL, gemm


class SigmoidWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        q: (n, K) queries.
        reads, y: (n, V) the online memory's answers, the output.
        base, answers, logits: (n, V) what all gates of a token share; of one checkpoint.
    """

    q: Any
    reads: Any
    y: Any
    base: Any
    answers: Any
    logits: Any


def forward_work(x: Any) -> SigmoidWork:
    """Work arrays of one thread."""
    rows, dtype = chunk_rows(x), x.q.dtype
    values = [np.empty((rows, x.reads.shape[3]), dtype) for _ in range(5)]
    return SigmoidWork(np.empty((rows, x.q.shape[3]), dtype), *values)


def chunk_rows(x: Any) -> int:
    """Most tokens of a chunk."""
    return min(ROWS, int(np.diff(x.bounds, axis=1).max()))


@kernel
def sigmoid_kernel(span: Any, x: Any, work: Any, y: Any) -> None:
    """y (B, T, H, V) for the tasks (row, head) in `span`."""
    heads, rows = x.q.shape[2], work.q.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        for s in range(x.first.shape[1]):
            last = x.bounds[b, s + 1]
            for begin in range(x.bounds[b, s], last, rows):
                place = (b, h, begin, min(rows, last - begin))
                load_rows(x.q, place, work.q)
                load_rows(x.reads, place, work.reads)
                _answer(x, (b, h, s), work)
                store_rows(work.y, y, place)


@device
def _answer(x: Any, place: Any, work: Any) -> None:
    """The output of a chunk of segment `place` = (b, h, s)."""
    b, h, s = place
    share(x, h, work.reads, work.base)
    copy(work.reads, work.y)
    for column in range(x.first[b, s], x.last[b, s]):
        gate_logits(x, (b, column, h), work)
        for t in range(work.y.shape[0]):
            for j in range(work.y.shape[1]):
                work.y[t, j] += sigmoid(work.logits[t, j]) * work.answers[t, j]


@device
def share(x: Any, h: int, reads: Any, base: Any) -> None:
    """`O W_online + bias` in `base`."""
    for t in range(base.shape[0]):
        for j in range(base.shape[1]):
            base[t, j] = x.bias[h, j]
    gemm(reads, x.online[h], base, 1.0, 1, FULL)


@device
def gate_logits(x: Any, memory: Any, work: Any) -> None:
    """`answers` of the checkpoint at `memory` = (b, column, h), and the `logits` of its gates."""
    gemm(work.q, x.states[memory], work.answers, 1.0, 0, FULL)
    copy(work.base, work.logits)
    gemm(work.answers, x.cached[memory[2]], work.logits, 1.0, 1, FULL)
