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


def gate_work(x: GateInputs) -> Any:
    """The normaliser of one thread (K,)."""
    return np.empty(x.q.shape[3], x.q.dtype)


@kernel
def gates_kernel(span: Any, x: Any, n: Any, out: Any) -> None:
    """Fills `out`, a `Gated`, for the tasks (row, head) in `span`; its normalizers are zeros."""
    heads = x.q.shape[2]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        m = x.largest[b, h]
        for i in range(n.shape[0]):
            n[i] = x.normalizer[b, h, i]
        for s in range(x.restart.shape[1]):
            first, last = x.bounds[b, s], x.bounds[b, s + 1]
            if x.restart[b, s]:
                m *= 0
                for i in range(n.shape[0]):
                    n[i] = 0
            for t in range(first, last):
                m = _token(x, (b, t, h), m, n, out)
            for i in range(n.shape[0] if first < last else 0):
                out.normalizers[b, s, h, i] = n[i]


@device
def _token(x: Any, at: Any, m: Any, n: Any, out: Any) -> Any:
    """The token at (b, t, h) from m and n before it; n goes past it, the new m is returned."""
    kept, given = x.fgate[at] + m, x.igate[at]
    largest = max(kept, given)
    out.forget[at], out.largest[at] = kept - largest, largest
    forget, write, total = exp(kept - largest), write_strength(x, at, largest), m * 0
    q, k, key = x.q[at], x.k[at], out.key[at]
    for i in range(n.shape[0]):
        key[i] = write * k[i]
        n[i] = forget * n[i] + write * k[i]
        total += n[i] * q[i]
    out.last[at] = total
    return largest


@device
def write_strength(x: Any, at: Any, largest: Any) -> Any:
    """`e^write / sqrt(K)` of the token at (b, t, h)."""
    return exp(x.igate[at] - largest) * x.q.dtype.type(x.q.shape[3] ** -0.5)
