"""Gradients of reads whose gates come from the answers; with A_i the logits of a gate,

    dA_i = dY o_i g_i (1 - g_i)              do_i = dY g_i + dA_i W_cached^T
    dQ += do_i S_i^T    dS_i += Q^T do_i     dW_cached += o_i^T dA_i
    dO = dY + (sum_i dA_i) W_online^T        dW_online += O^T sum_i dA_i

Answers and gates are made again.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import clear, load_rows, store_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import sigmoid
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.sigmoid_read_kernels import chunk_rows, gate_logits, share


class SigmoidBackwardWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        q, dq: (n, K).
        reads, dy: (n, V) the online memory's answers, the gradient of y, then theirs.
        base, answers, logits: (n, V) as in forward; logits become their gradient.
        d_answers, d_base: (n, V) gradient of answers; of the logits of all checkpoints.
        online_t, cached_t: (V, V) a head's matrices transposed.
        states_t: (C, V, K) all checkpoints of a row and head transposed.
    """

    q: Any
    dq: Any
    reads: Any
    dy: Any
    base: Any
    answers: Any
    logits: Any
    d_answers: Any
    d_base: Any
    online_t: Any
    cached_t: Any
    states_t: Any


def backward_work(x: Any) -> SigmoidBackwardWork:
    """Work arrays of one thread."""
    rows, dtype = chunk_rows(x), x.q.dtype
    columns, _, keys, values = x.states.shape[1:]
    shapes: list[tuple[int, ...]] = [(rows, keys)] * 2 + [(rows, values)] * 7
    shapes += [(values, values)] * 2 + [(columns, values, keys)]
    return SigmoidBackwardWork(*(np.empty(shape, dtype) for shape in shapes))


@kernel
def sigmoid_backward(span: Any, x: Any, work: Any, dy: Any, out: Any) -> None:
    """Fills out = (dq, d_reads, d_states, and (B, ...) parts of d_online, d_cached, d_bias)."""
    heads, rows = x.q.shape[2], work.q.shape[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        transpose(x.online[h], work.online_t)
        transpose(x.cached[h], work.cached_t)
        for column in range(x.first[b].min(), x.last[b].max()):
            transpose(x.states[b, column, h], work.states_t[column])
        for s in range(x.first.shape[1]):
            last = x.bounds[b, s + 1]
            for begin in range(x.bounds[b, s], last, rows):
                tokens = (b, h, begin, min(rows, last - begin))
                for source, block in ((x.reads, work.reads), (dy, work.dy)):
                    load_rows(source, tokens, block)
                load_rows(x.q, tokens, work.q)
                _chunk_backward(x, (b, h, s), work, out)
                store_rows(work.dq, out[0], tokens)
                store_rows(work.dy, out[1], tokens)


@device
def _chunk_backward(x: Any, place: Any, work: Any, out: Any) -> None:
    """dQ of a chunk in `dq`, dO in `dy`; adds to the gradients of all that tokens share."""
    b, h, s = place
    _, _, _, d_online, _, d_bias = out
    share(x, h, work.reads, work.base)
    clear(work.d_base)
    clear(work.dq)
    for column in range(x.first[b, s], x.last[b, s]):
        gate_logits(x, (b, column, h), work)
        _checkpoint_backward((b, column, h), work, out)
    gemm(work.reads.T, work.d_base, d_online[b, h], 1.0, 1, FULL)
    gemm(work.d_base, work.online_t, work.dy, 1.0, 1, FULL)
    for t in range(work.d_base.shape[0]):
        for j in range(work.d_base.shape[1]):
            d_bias[b, h, j] += work.d_base[t, j]


@device
def _checkpoint_backward(memory: Any, work: Any, out: Any) -> None:
    """Through the gated answers of the checkpoint at `memory` = (b, column, h)."""
    b, column, h = memory
    _, _, d_states, _, d_cached, _ = out
    d_answers, d_logits = work.d_answers, work.logits
    for t in range(d_answers.shape[0]):
        for j in range(d_answers.shape[1]):
            gate = sigmoid(d_logits[t, j])
            d_gated = work.dy[t, j] * gate
            d_logit = d_gated * work.answers[t, j] * (1 - gate)
            d_answers[t, j] = d_gated
            d_logits[t, j] = d_logit
            work.d_base[t, j] += d_logit
    gemm(work.answers.T, d_logits, d_cached[b, h], 1.0, 1, FULL)
    gemm(d_logits, work.cached_t, d_answers, 1.0, 1, FULL)
    gemm(d_answers, work.states_t[column], work.dq, 1.0, 1, FULL)
    gemm(work.q.T, d_answers, d_states[memory], 1.0, 1, FULL)
