"""RWKV-7's memory token after token: for decays too strong for the matrix form of `rwkv7_chunk`."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import copy
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.channel_levels import STRONG_ROWS
from mcore.backends.numba_cpu.elementwise import exp


class TokenWork(NamedTuple):
    """Work arrays of one thread.

    Attributes:
        recalled, d_recalled: (V,).
        states: (n + 1, K, V) the states between the tokens; forward needs none.
    """

    recalled: Any
    d_recalled: Any
    states: Any


def token_work(x: Any, backward: bool) -> TokenWork:
    """Work arrays of one thread; `x` has q and v."""
    keys, values, dtype = x.q.shape[3], x.v.shape[3], x.q.dtype
    states = np.empty((STRONG_ROWS + 1 if backward else 0, keys, values), dtype)
    return TokenWork(np.empty(values, dtype), np.empty(values, dtype), states)


@device
def tokens_write(x: Any, place: Any, state: Any, work: Any) -> None:
    """`state` goes past the tokens at `place` = (b, h, begin, n)."""
    b, h, begin, n = place
    for t in range(begin, begin + n):
        _step(x, (b, t, h), state, state, work.recalled)


@device
def tokens_answer(x: Any, place: Any, state: Any, work: Any, reads: Any) -> None:
    """`tokens_write` that reads every state."""
    b, h, begin, n = place
    for t in range(begin, begin + n):
        _step(x, (b, t, h), state, state, work.recalled)
        _read(x.q[b, t, h], state, reads[b, t, h])


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


@device
def tokens_backward(x: Any, place: Any, start: Any, given: Any, out: Any) -> None:
    """Gradients of the tokens at `place` = (b, h, begin, n) from the state `start` before them.

    given: d_reads, the gradient of the state, which goes from their end to their start, and work.
    """
    b, h, begin, n = place
    d_reads, d_state, work = given
    copy(start, work.states[0])
    for i in range(n):
        _step(x, (b, begin + i, h), work.states[i], work.states[i + 1], work.recalled)
    for i in range(n - 1, -1, -1):
        pair, at = (work.states[i], work.states[i + 1]), (b, begin + i, h)
        _token_backward(x, at, pair, (d_reads[at], d_state, work), out)


@device
def _token_backward(x: Any, at: Any, pair: Any, given: Any, out: Any) -> None:
    """Gradients of one token, from the states before and after it."""
    before, after = pair
    dy, d_state, work = given
    recalled, d_recalled = work.recalled, work.d_recalled
    dq, dk, dv = out.q[at], out.k[at], out.v[at]
    d_decay, d_kk, d_a = out.log_decay[at], out.kk[at], out.a[at]
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
