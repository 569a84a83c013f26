"""Scan of RWKV-7's memory, token after token; its transition is not a product of channel factors.

Backward replays a segment: the states before each block of tokens are kept, then those of one block
at a time. Storage is K V times (tokens / ROWS + ROWS), not times tokens.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import add, clear, copy
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.scan_work import segment_start

ROWS = 16
"""Tokens of a block."""


class RwkvInputs(NamedTuple):
    """Arrays of a scan, as in `ScanInputs`; log_decay, kk, a (B, T, H, K)."""

    q: Any
    k: Any
    v: Any
    log_decay: Any
    kk: Any
    a: Any
    carry: Any
    bounds: Any
    restart: Any


class RwkvWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        recalled, d_recalled: (V,).
        d_state: (K, V).
        starts: (blocks, K, V) the state before each block; forward needs one.
        states: (n + 1, K, V) the states inside a block.
    """

    recalled: Any
    d_recalled: Any
    d_state: Any
    starts: Any
    states: Any


def forward_work(x: RwkvInputs) -> RwkvWork:
    """Work arrays of one thread for `rwkv7_kernel`."""
    return _work(x, 1, 0)


def backward_work(x: RwkvInputs) -> RwkvWork:
    """Work arrays of one thread for `rwkv7_backward_kernel`."""
    longest = int(np.diff(x.bounds, axis=1).max())
    return _work(x, -(-longest // ROWS), ROWS)


def _work(x: RwkvInputs, blocks: int, rows: int) -> RwkvWork:
    keys, values, dtype = x.q.shape[3], x.v.shape[3], x.q.dtype
    shapes: list[tuple[int, ...]] = [(values,), (values,), (keys, values)]
    shapes += [(blocks, keys, values), (rows + 1, keys, values)]
    return RwkvWork(*(np.empty(shape, dtype) for shape in shapes))


@kernel
def rwkv7_kernel(span: Any, x: Any, work: Any, reads: Any, checkpoints: Any) -> None:
    """Reads (B, T, H, V) and checkpoints (B, S, H, K, V) for the tasks (row, head) in `span`."""
    heads, state = x.q.shape[2], work.starts[0]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        for s in range(x.restart.shape[1]):
            first, last = x.bounds[b, s], x.bounds[b, s + 1]
            if first < last:
                segment_start(x, checkpoints, (b, h, s), state)
                for t in range(first, last):
                    _step(x, (b, t, h), state, state, work.recalled)
                    _read(x.q[b, t, h], state, reads[b, t, h])
                copy(state, checkpoints[b, s, h])


@device
def _step(x: Any, at: Any, before: Any, after: Any, recalled: Any) -> None:
    """The state after the token at (b, t, h); `before` and `after` may be one array."""
    kk, strength, k, v, log_decay = x.kk[at], x.a[at], x.k[at], x.v[at], x.log_decay[at]
    _read(kk, before, recalled)
    for i in range(before.shape[0]):
        decay, removed, key = exp(log_decay[i]), kk[i] * strength[i], k[i]
        for j in range(before.shape[1]):
            after[i, j] = decay * before[i, j] - removed * recalled[j] + key * v[j]


@device
def _read(q: Any, state: Any, y: Any) -> None:
    """`y = S^T q`."""
    for j in range(y.shape[0]):
        y[j] = 0
    for i in range(state.shape[0]):
        weight = q[i]
        for j in range(y.shape[0]):
            y[j] += weight * state[i, j]


@kernel
def rwkv7_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
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
                fresh = segment_start(x, checkpoints, (b, h, s), work.starts[0])
                _segment_backward(x, (b, h, first, last), d_reads, work, out)
                if fresh:
                    clear(work.d_state)
        if x.carry.size:
            copy(work.d_state, out[6][b, h])


@device
def _segment_backward(x: Any, segment: Any, d_reads: Any, work: Any, out: Any) -> None:
    """The blocks of a segment, from the last; `work.d_state` goes from its end to its start."""
    b, h, first, last = segment
    blocks = (last - first + ROWS - 1) // ROWS
    for i in range(blocks - 1):
        copy(work.starts[i], work.starts[i + 1])
        for t in range(first + i * ROWS, first + (i + 1) * ROWS):
            _step(x, (b, t, h), work.starts[i + 1], work.starts[i + 1], work.recalled)
    for i in range(blocks - 1, -1, -1):
        begin = first + i * ROWS
        end = min(begin + ROWS, last)
        copy(work.starts[i], work.states[0])
        for t in range(begin, end):
            _step(x, (b, t, h), work.states[t - begin], work.states[t - begin + 1], work.recalled)
        for t in range(end - 1, begin - 1, -1):
            pair = work.states[t - begin], work.states[t - begin + 1]
            _token_backward(x, (b, t, h), pair, (d_reads[b, t, h], work), out)


@device
def _token_backward(x: Any, at: Any, pair: Any, given: Any, out: Any) -> None:
    """Gradients of one token, from the states before and after it."""
    before, after = pair
    dy, work = given
    d_state, recalled, d_recalled = work.d_state, work.recalled, work.d_recalled
    dq, dk, dv, d_decay, d_kk, d_a = (
        out[0][at],
        out[1][at],
        out[2][at],
        out[3][at],
        out[4][at],
        out[5][at],
    )
    q, k, v, kk, strength = x.q[at], x.k[at], x.v[at], x.kk[at], x.a[at]
    _read(kk, before, recalled)
    for j in range(dv.shape[0]):
        dv[j] = d_recalled[j] = 0
    for i in range(q.shape[0]):
        removed, answer, written, taken = kk[i] * strength[i], q[i] * 0, q[i] * 0, q[i] * 0
        for j in range(dy.shape[0]):
            d_state[i, j] += q[i] * dy[j]
            answer += after[i, j] * dy[j]
            written += d_state[i, j] * v[j]
            taken -= d_state[i, j] * recalled[j]
            dv[j] += k[i] * d_state[i, j]
            d_recalled[j] -= removed * d_state[i, j]
        dq[i], dk[i], d_a[i], d_kk[i] = answer, written, kk[i] * taken, strength[i] * taken
    for i in range(q.shape[0]):
        decay, kept, found = exp(x.log_decay[at][i]), q[i] * 0, q[i] * 0
        for j in range(dy.shape[0]):
            kept += d_state[i, j] * before[i, j]
            found += before[i, j] * d_recalled[j]
            d_state[i, j] = decay * d_state[i, j] + kk[i] * d_recalled[j]
        d_decay[i] = decay * kept
        d_kk[i] += found
