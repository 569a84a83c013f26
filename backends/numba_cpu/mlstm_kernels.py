"""What the gates of a matrix LSTM make of its inputs, and its normaliser; token after token.

    m_t = max(f_t + m_{t-1}, i_t)      forget_t = f_t + m_{t-1} - m_t      write_t = i_t - m_t
    key_t = e^write_t k_t / sqrt(K)      n_t = e^forget_t n_{t-1} + key_t      last_t = n_t . q_t

with f the log forget gate and i the input gate; forget and write are logarithms, at most 0. What is
left is a memory that decays by forget and writes v at key.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.prefetch import prefetch_row

AHEAD = 8
"""How many tokens ahead rows are asked for."""


class GateInputs(NamedTuple):
    """Arrays of the gates.

    Attributes:
        igate, fgate: (B, T, H); fgate after its log-sigmoid.
        q, k: (B, T, H, K).
        largest, normalizer: (B, H), (B, H, K) m and n of the state to go on from.
        bounds, restart: of `Segments`.
    """

    igate: Any
    fgate: Any
    q: Any
    k: Any
    largest: Any
    normalizer: Any
    bounds: Any
    restart: Any


class Gated(NamedTuple):
    """forget, m, last (B, T, H); key (B, T, H, K); n at the ends of segments (B, S, H, K)."""

    forget: Any
    largest: Any
    last: Any
    key: Any
    normalizers: Any


class Strengths(NamedTuple):
    """Of the tokens of a segment.

    Attributes:
        forget, write: (L,) `e^forget` and `e^write / sqrt(K)`.
        n: (K,) the normaliser.
    """

    forget: Any
    write: Any
    n: Any


def gate_work(x: GateInputs) -> Strengths:
    """Work arrays of one thread."""
    longest, dtype = int(np.diff(x.bounds, axis=1).max()), x.q.dtype
    return Strengths(*(np.empty(n, dtype) for n in (longest, longest, x.q.shape[3])))


@kernel
def gates_kernel(span: Any, x: Any, work: Any, out: Any) -> None:
    """Fills `out`, a `Gated`, for the tasks (row, head) in `span`; its normalizers are zeros."""
    heads, n = x.q.shape[2], work.n
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        m = x.largest[b, h]
        for i in range(n.shape[0]):
            n[i] = x.normalizer[b, h, i]
        for s in range(x.restart.shape[1]):
            if x.restart[b, s]:
                m *= 0
                for i in range(n.shape[0]):
                    n[i] = 0
            if x.bounds[b, s] < x.bounds[b, s + 1]:
                segment = (b, h, x.bounds[b, s], x.bounds[b, s + 1])
                m = _maxima(x, segment, m, out)
                set_strengths(x, segment, out, work)
                _normaliser(x, segment, work, out)
                for i in range(n.shape[0]):
                    out.normalizers[b, s, h, i] = n[i]


@device
def _maxima(x: Any, segment: Any, m: Any, out: Any) -> Any:
    """forget and m of the tokens of `segment` = (b, h, first, last), from m before; the last m."""
    b, h, first, last = segment
    for t in range(first, last):
        kept = x.fgate[b, t, h] + m
        m = max(kept, x.igate[b, t, h])
        out.forget[b, t, h], out.largest[b, t, h] = kept - m, m
    return m


@device
def set_strengths(x: Any, segment: Any, gated: Any, work: Any) -> None:
    """`work.forget` and `work.write` of the tokens of `segment` = (b, h, first, last)."""
    b, h, first, last = segment
    forget, write, scale = work.forget, work.write, x.q.dtype.type(x.q.shape[3] ** -0.5)
    for t in range(first, last):
        forget[t - first] = gated.forget[b, t, h]
        write[t - first] = x.igate[b, t, h] - gated.largest[b, t, h]
    for i in range(last - first):
        forget[i] = exp(forget[i])
    for i in range(last - first):
        write[i] = exp(write[i]) * scale


@device
def _normaliser(x: Any, segment: Any, work: Any, out: Any) -> None:
    """key and last of the tokens of `segment` = (b, h, first, last); `work.n` goes past them."""
    b, h, first, last = segment
    n = work.n
    for t in range(first, last):
        ahead = min(t + AHEAD, last - 1)
        prefetch_row(x.q[b, ahead, h])
        prefetch_row(x.k[b, ahead, h])
        prefetch_row(out.key[b, ahead, h])
        forget, write = work.forget[t - first], work.write[t - first]
        q, k, key, total = x.q[b, t, h], x.k[b, t, h], out.key[b, t, h], write * 0
        for i in range(n.shape[0]):
            key[i] = write * k[i]
            n[i] = forget * n[i] + write * k[i]
            total += n[i] * q[i]
        out.last[b, t, h] = total
