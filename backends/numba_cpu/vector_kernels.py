"""Scan of vector memories: for each head and block of rows, token after token in one call."""

from typing import Any

from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.gru import gru_token
from mcore.backends.numba_cpu.lstm import lstm_token
from mcore.backends.numba_cpu.matvec import transposed_times
from mcore.backends.numba_cpu.slstm import slstm_token
from mcore.backends.numba_cpu.vector_products import add_gate, pack
from mcore.backends.numba_cpu.vector_rows import (
    advance_cursor,
    clear_row,
    load_row,
    store_row,
    task_place,
)
from mcore.backends.numba_cpu.vector_work import GRU, LSTM


@kernel
def vector_kernel(span: Any, x: Any, work: Any, kept: Any, out: Any) -> None:
    """out: reads (B, T, H, V), checkpoints (B, S, H, n, V), blocks; for the tasks of `span`."""
    blocks, packed = out[2], -1
    for task in range(span[0], span[1]):
        begin, end, h = task_place(task, x.x.shape[0], blocks)
        if packed != h:
            pack(x.recurrent[h], work.panels)
            packed = h
        for r in range(end - begin):
            work.cursor[r] = 0
        for t in range(x.x.shape[1]):
            place = (begin, end, t, h)
            _enter(x, place, work, kept)
            _gates(x, place, work, kept)
            _answer(x, place, work, kept)
            _leave(x, place, work, out)


@device
def _enter(x: Any, place: Any, work: Any, kept: Any) -> None:
    """The rows' states before token t, and what the gates add to."""
    begin, end, t, h = place
    for b in range(begin, end):
        r = b - begin
        s = advance_cursor(x, b, work.cursor[r], t)
        work.cursor[r] = s
        if t == x.bounds[b, s]:
            if x.restart[b, s]:
                clear_row(work.state, r)
            elif s == 0:
                load_row(x.carry[b, h], work.state, r)
        _preload(x, (b, t, h), kept.planes[h, t])
        for j in range(work.state.shape[2]):
            kept.before[b, t, h, j] = work.state[0, r, j]


@device
def _preload(x: Any, place: Any, planes: Any) -> None:
    """A row of every gate's plane is its part of x; GRU: that of the inner one is its bias."""
    b, t, h = place
    width, source = planes.shape[2], x.x[b, t, h]
    for g in range(source.shape[0] // width):
        for j in range(width):
            planes[g, b, j] = source[g * width + j]
    if x.code == GRU:
        for j in range(width):
            planes[3, b, j] = x.bias[h, j]


@device
def _gates(x: Any, place: Any, work: Any, kept: Any) -> None:
    """Add `h U` to the planes of the gates."""
    begin, end, t, h = place
    before, planes = work.state[0, : end - begin], kept.planes[h, t]
    if work.panels.shape[0] == 0:
        for b in range(begin, end):
            transposed_times(x.recurrent[h], before[b - begin], work.product)
            _add_product(x.code, work.product, planes[:, b])
    else:
        for g in range(x.recurrent.shape[2] // before.shape[1]):
            add_gate(before, work.panels, g, planes[_target(x.code, g), begin:end])


@device
def _add_product(code: int, product: Any, planes: Any) -> None:
    """Add a row's `h U` (N,) to its part of the planes (planes, V)."""
    width = planes.shape[1]
    for g in range(product.shape[0] // width):
        target = planes[_target(code, g)]
        for j in range(width):
            target[j] += product[g * width + j]


@device
def _target(code: int, gate: int) -> int:
    """The plane that a gate's `h U` is added to: for a GRU's candidate, the inner one."""
    return 3 if code == GRU and gate == 2 else gate


@device
def _answer(x: Any, place: Any, work: Any, kept: Any) -> None:
    """Activate the planes and move the state on."""
    begin, end, t, h = place
    width = x.recurrent.shape[1]
    planes = (kept.flat, h, t, begin * width, end * width)
    state = (work.flat, 0, 0, 0, (end - begin) * width)
    if x.code == LSTM:
        lstm_token(planes, state)
    elif x.code == GRU:
        gru_token(planes, state)
    else:
        slstm_token(planes, state)


@device
def _leave(x: Any, place: Any, work: Any, out: Any) -> None:
    """Store the rows' answers, and the states of those whose segment ends."""
    begin, end, t, h = place
    reads, checkpoints, _ = out
    for b in range(begin, end):
        r = b - begin
        for j in range(work.state.shape[2]):
            reads[b, t, h, j] = work.state[0, r, j]
        s = work.cursor[r]
        if t + 1 == x.bounds[b, s + 1]:
            store_row(work.state, r, checkpoints[b, s, h])
