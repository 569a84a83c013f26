"""Scan of vector memories: for each block of rows and head, token after token in one call."""

from typing import Any

from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gemm import FULL, gemm
from mcore.backends.numba_cpu.gru import gru_answer, gru_token
from mcore.backends.numba_cpu.lstm import lstm_answer, lstm_token
from mcore.backends.numba_cpu.slstm import slstm_answer, slstm_token
from mcore.backends.numba_cpu.vector_work import GRU, LSTM, segment_start


@kernel
def vector_kernel(span: Any, x: Any, work: Any, reads: Any, checkpoints: Any) -> None:
    """Reads (B, T, H, V) and checkpoints (B, S, H, n, V) for the tasks (block, head)."""
    heads = x.x.shape[2]
    for task in range(span[0], span[1]):
        block, h = task // heads, task % heads
        begin, end = x.blocks[block, 0], x.blocks[block, 1]
        for s in range(x.restart.shape[1]):
            first, last = x.bounds[begin, s], x.bounds[begin, s + 1]
            if first < last:
                segment_start(x, checkpoints, (begin, end, h, s), work)
                for t in range(first, last):
                    _token(x, (begin, end, t, h), work, reads)
                _keep(checkpoints[:, s], (begin, end, h), work)


@device
def _token(x: Any, place: Any, work: Any, reads: Any) -> None:
    """The rows' states after token t; `place` is (first row, end, t, h)."""
    begin, end, t, h = place
    gemm(work.h[: end - begin], x.recurrent[h], work.gates, 1.0, 0, FULL)
    for b in range(begin, end):
        r = b - begin
        gates, others = work.gates[r], work.others[r]
        advance(x, (b, t, h), gates, others, others)
        answer(x.code, gates, others, work.h[r])
        for j in range(work.h.shape[1]):
            reads[b, t, h, j] = work.h[r, j]


@device
def _keep(checkpoints: Any, place: Any, work: Any) -> None:
    """Store the rows' states; `place` is (first row, end, h)."""
    begin, end, h = place
    for b in range(begin, end):
        for j in range(work.h.shape[1]):
            checkpoints[b, h, 0, j] = work.h[b - begin, j]
            for e in range(checkpoints.shape[2] - 1):
                checkpoints[b, h, e + 1, j] = work.others[b - begin, e, j]


@device
def advance(x: Any, place: Any, gates: Any, before: Any, after: Any) -> None:
    """`gates` from `h U` to activated gates, the state but for h from `before` to `after`."""
    b, t, h = place
    if x.code == LSTM:
        lstm_token(x.x[b, t, h], gates, before, after)
    elif x.code == GRU:
        gru_token(x.x[b, t, h], gates, x.bias[h], after)
    else:
        slstm_token(x.x[b, t, h], gates, before, after)


@device
def answer(code: int, gates: Any, after: Any, h: Any) -> None:
    """h from the token before to this one."""
    if code == LSTM:
        lstm_answer(gates, after, h)
    elif code == GRU:
        gru_answer(gates, h)
    else:
        slstm_answer(gates, after, h)
