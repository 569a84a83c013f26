"""Scan of vector memories backwards: only the chain of gradients goes token by token.

The gradient of U is one product over all tokens afterwards (`vector_scan`).
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gru import gru_backward
from mcore.backends.numba_cpu.lstm import lstm_backward
from mcore.backends.numba_cpu.slstm import slstm_backward
from mcore.backends.numba_cpu.vector_products import back_through, pack_transposed
from mcore.backends.numba_cpu.vector_rows import add_row, clear_row, store_row, task_place
from mcore.backends.numba_cpu.vector_work import GRU, LSTM


@kernel
def vector_backward_kernel(span: Any, x: Any, work: Any, given: Any, gradients: Any) -> None:
    """given: what forward kept, d_reads, d_checkpoints, blocks; for the tasks of `span`."""
    blocks = given[3]
    gates, packed = x.recurrent.shape[2] // x.recurrent.shape[1], -1
    for task in range(span[0], span[1]):
        begin, end, h = task_place(task, x.x.shape[0], blocks)
        if packed != h:
            pack_transposed(x.recurrent[h], work.panels)
            packed = h
        for r in range(end - begin):
            clear_row(work.state, r)
            work.cursor[r] = x.restart.shape[1]
        for t in range(x.x.shape[1] - 1, -1, -1):
            place = (begin, end, t, h)
            _enter(x, place, work, given)
            _token_backward(x, place, work, given[0])
            _store(x, place, work, gradients)
            if x.code == GRU:
                _store_inner(place, work, gradients, task % blocks)
            rows = work.planes[:, : end - begin]
            d_h = work.state[0, : end - begin]
            back_through(rows, gates, work.panels, d_h, 1 if x.code == GRU else 0)
            _leave(x, place, work)
        if x.carry.size:
            for b in range(begin, end):
                store_row(work.state, b - begin, gradients.carry[b, h])


@device
def _enter(x: Any, place: Any, work: Any, given: Any) -> None:
    """Add what flows in behind token t: from its answers, and from checkpoints that it ends."""
    begin, end, t, h = place
    kept, d_reads, d_checkpoints, _ = given
    for b in range(begin, end):
        r, s = b - begin, work.cursor[b - begin]
        if s == x.restart.shape[1] or x.bounds[b, s] > t:
            s -= 1
            while x.bounds[b, s] > t or x.bounds[b, s] == x.bounds[b, s + 1]:
                s -= 1
            work.cursor[r] = s
            add_row(d_checkpoints[b, s, h], work.state, r)
        for j in range(work.state.shape[2]):
            work.state[0, r, j] += d_reads[b, t, h, j]
        if x.code == GRU:
            for j in range(work.state.shape[2]):
                work.before[r * work.state.shape[2] + j] = kept.before[b, t, h, j]


@device
def _token_backward(x: Any, place: Any, work: Any, kept: Any) -> None:
    """Fill the planes of gradients; the state's gradient, but for U's part, moves on."""
    begin, end, t, h = place
    width = x.recurrent.shape[1]
    size = (end - begin) * width
    planes = (kept.flat, h, t, begin * width, end * width)
    d_planes, d_state = (work.long, 0, 0, 0, size), (work.flat, 0, 0, 0, size)
    if x.code == LSTM:
        lstm_backward(planes, d_state, d_planes)
    elif x.code == GRU:
        gru_backward(planes, work.before[:size], d_state, d_planes)
    else:
        slstm_backward(planes, d_state, d_planes)


@device
def _store(x: Any, place: Any, work: Any, gradients: Any) -> None:
    """Gradients of x; in a GRU, that of the candidate has a plane of its own."""
    begin, end, t, h = place
    width = work.planes.shape[2]
    for b in range(begin, end):
        target = gradients.x[b, t, h]
        for g in range(target.shape[0] // width):
            source = work.planes[3 if x.code == GRU and g == 2 else g, b - begin]
            for j in range(width):
                target[g * width + j] = source[j]


@device
def _store_inner(place: Any, work: Any, gradients: Any, block: int) -> None:
    """A GRU's gradient of what the reset multiplies, and its sum, which is that of the bias."""
    begin, end, t, h = place
    for b in range(begin, end):
        for j in range(work.planes.shape[2]):
            gradients.inner[b, t, h, j] = work.planes[2, b - begin, j]
        for j in range(work.planes.shape[2]):
            gradients.bias[block, h, j] += work.planes[2, b - begin, j]


@device
def _leave(x: Any, place: Any, work: Any) -> None:
    """Nothing flows past the first token of a memory that started afresh."""
    begin, end, t, _ = place
    for b in range(begin, end):
        s = work.cursor[b - begin]
        if t == x.bounds[b, s] and x.restart[b, s]:
            clear_row(work.state, b - begin)
