"""Scan of vector memories backwards: segments from the last, each replayed from its checkpoint.

As every h is an answer, all gates of a segment come from one product; only the chain of gradients
goes token by token.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import clear
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.gru import gru_backward
from mcore.backends.numba_cpu.lstm import lstm_backward
from mcore.backends.numba_cpu.slstm import slstm_backward
from mcore.backends.numba_cpu.vector_kernels import advance
from mcore.backends.numba_cpu.vector_work import GRU, LSTM, segment_start


@kernel
def vector_backward_kernel(span: Any, x: Any, work: Any, given: Any, gradients: Any) -> None:
    """Gradients for the tasks (block, head); given: reads, checkpoints, d_reads, d_checkpoints."""
    _, checkpoints, _, d_checkpoints = given
    heads = x.x.shape[2]
    for task in range(span[0], span[1]):
        block, h = task // heads, task % heads
        begin, end = x.blocks[block, 0], x.blocks[block, 1]
        transpose(x.recurrent[h], work.transposed)
        _clear_gradient(work)
        for s in range(x.restart.shape[1] - 1, -1, -1):
            first, last = x.bounds[begin, s], x.bounds[begin, s + 1]
            if first < last:
                _add_gradient(d_checkpoints[:, s], (begin, end, h), work)
                fresh = segment_start(x, checkpoints, (begin, end, h, s), work)
                place = (begin, end, h, first, last)
                _replay(x, place, work, given)
                _walk(x, place, work, given, gradients)
                _recurrent(place, work, gradients.recurrent[block, h])
                if x.code == GRU:
                    _bias(place, work, gradients.bias[block, h])
                if fresh:
                    _clear_gradient(work)
        if x.carry.size:
            _store_gradient(gradients.carry, (begin, end, h), work)


@device
def _replay(x: Any, place: Any, work: Any, given: Any) -> None:
    """Fill `h`, `gates` and `others`, whose first rows hold the state at the segment's start."""
    begin, end, h, first, last = place
    reads, rows, size = given[0], end - begin, (end - begin) * (last - first)
    for t in range(first + 1, last):
        for b in range(begin, end):
            at = (t - first) * rows + b - begin
            for j in range(work.h.shape[1]):
                work.h[at, j] = reads[b, t - 1, h, j]
    gemm(work.h[:size], x.recurrent[h], work.gates, 1.0, 0, FULL)
    for t in range(first, last):
        for b in range(begin, end):
            at = (t - first) * rows + b - begin
            advance(x, (b, t, h), work.gates[at], work.others[at], work.others[at + rows])


@device
def _walk(x: Any, place: Any, work: Any, given: Any, gradients: Any) -> None:
    """Tokens from the last: `gates` become gradients, `d_h` and `d_others` reach the start."""
    begin, end, h, first, last = place
    d_reads, rows = given[2], end - begin
    for t in range(last - 1, first - 1, -1):
        top = (t - first) * rows
        for b in range(begin, end):
            r = b - begin
            for j in range(work.d_h.shape[1]):
                work.d_h[r, j] += d_reads[b, t, h, j]
            _token_backward(x.code, work, (top + r, top + r + rows, r), gradients.x[b, t, h])
        gemm(work.gates[top : top + rows], work.transposed, work.d_h, 1.0, 1, FULL)


@device
def _token_backward(code: int, work: Any, at: Any, d_x: Any) -> None:
    """`at`: where the token's entries, the state after it and the row's gradients are."""
    here, there, r = at
    gates, before, after = work.gates[here], work.others[here], work.others[there]
    if code == LSTM:
        lstm_backward(gates, (before, after), work.d_h[r], work.d_others[r], d_x)
    elif code == GRU:
        gru_backward(gates, after, work.h[here], work.d_h[r], d_x)
    else:
        slstm_backward(gates, (before, after), work.d_h[r], work.d_others[r], d_x)


@device
def _recurrent(place: Any, work: Any, d_recurrent: Any) -> None:
    """`dU += sum over tokens of h^T d`."""
    begin, end, _, first, last = place
    size = (end - begin) * (last - first)
    gemm(work.h[:size].T, work.gates[:size], d_recurrent, 1.0, 1, FULL)


@device
def _bias(place: Any, work: Any, d_bias: Any) -> None:
    """The sum over tokens of the gradient of what r multiplied."""
    begin, end, _, first, last = place
    width = d_bias.shape[0]
    for at in range((end - begin) * (last - first)):
        for j in range(width):
            d_bias[j] += work.gates[at, 2 * width + j]


@device
def _clear_gradient(work: Any) -> None:
    clear(work.d_h)
    for r in range(work.d_others.shape[0]):
        clear(work.d_others[r])


@device
def _add_gradient(source: Any, place: Any, work: Any) -> None:
    """Add the rows of a gradient (B, H, n, V) at `place` = (first row, end, h)."""
    begin, end, h = place
    for b in range(begin, end):
        for j in range(work.d_h.shape[1]):
            work.d_h[b - begin, j] += source[b, h, 0, j]
            for e in range(source.shape[2] - 1):
                work.d_others[b - begin, e, j] += source[b, h, e + 1, j]


@device
def _store_gradient(target: Any, place: Any, work: Any) -> None:
    """The converse of `_add_gradient`."""
    begin, end, h = place
    for b in range(begin, end):
        for j in range(work.d_h.shape[1]):
            target[b, h, 0, j] = work.d_h[b - begin, j]
            for e in range(target.shape[2] - 1):
                target[b, h, e + 1, j] = work.d_others[b - begin, e, j]
