"""Gradients of the gates and the normaliser of a matrix LSTM: tokens from the last.

The normaliser of a segment is replayed from the end of the segment before. The maximum passes its
gradient to the larger of its two arguments.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.mlstm_kernels import GateInputs, write_strength


class GateGradients(NamedTuple):
    """Of igate, fgate, q, k, and the m and n that came in, in the order of `GateInputs`.

    q and k hold, at first, the gradients of the scan's queries and of key.
    """

    igate: Any
    fgate: Any
    q: Any
    k: Any
    largest: Any
    normalizer: Any


class GateGiven(NamedTuple):
    """What backward is given beside the inputs.

    Attributes:
        gated: of forward.
        weights: (B, T, H) by which queries were multiplied for the scan.
        forget, largest, last: gradients of forget, m and last.
        normalizers: (B, S, H, K) gradients of n at the ends of segments.
    """

    gated: Any
    weights: Any
    forget: Any
    largest: Any
    last: Any
    normalizers: Any


class GateBackwardWork(NamedTuple):
    """d_n (K,), and n before each token of a segment and at its end (L + 1, K)."""

    d_n: Any
    states: Any


def gate_backward_work(x: GateInputs) -> GateBackwardWork:
    """Work arrays of one thread."""
    longest, keys = int(np.diff(x.bounds, axis=1).max()), x.q.shape[3]
    return GateBackwardWork(np.empty(keys, x.q.dtype), np.empty((longest + 1, keys), x.q.dtype))


@kernel
def gates_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`; given: a `GateGiven`, out: `GateGradients`."""
    heads, d_n = x.q.shape[2], work.d_n
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        later = x.largest[b, h] * 0
        for i in range(d_n.shape[0]):
            d_n[i] = 0
        for s in range(x.restart.shape[1] - 1, -1, -1):
            first, last = x.bounds[b, s], x.bounds[b, s + 1]
            if first < last:
                for i in range(d_n.shape[0]):
                    d_n[i] += given.normalizers[b, s, h, i]
                before = _replay(x, (b, h, s), given.gated, work.states)
                for t in range(last - 1, first - 1, -1):
                    states = (work.states[t - first], work.states[t - first + 1])
                    _normaliser_backward(x, (b, t, h), states, (given, d_n), out)
                    m = before if t == first else given.gated.largest[b, t - 1, h]
                    later = _maximum_backward(x, (b, t, h), m, later, (given, out))
                if x.restart[b, s]:
                    later *= 0
                    for i in range(d_n.shape[0]):
                        d_n[i] = 0
        out.largest[b, h] = later
        for i in range(d_n.shape[0]):
            out.normalizer[b, h, i] = d_n[i]


@device
def _replay(x: Any, segment: Any, gated: Any, states: Any) -> Any:
    """n before each token of segment (b, h, s) and at its end; returns m before it."""
    b, h, s = segment
    first, last = x.bounds[b, s], x.bounds[b, s + 1]
    zero = states.dtype.type(0)
    before = zero if x.restart[b, s] else x.largest[b, h]
    if s > 0 and not x.restart[b, s]:
        before = gated.largest[b, first - 1, h]
    for i in range(states.shape[1]):
        start = zero if x.restart[b, s] else x.normalizer[b, h, i]
        if s > 0 and not x.restart[b, s]:
            start = gated.normalizers[b, s - 1, h, i]
        states[0, i] = start
    for t in range(first, last):
        forget, key = exp(gated.forget[b, t, h]), gated.key[b, t, h]
        for i in range(states.shape[1]):
            states[t - first + 1, i] = forget * states[t - first, i] + key[i]
    return before


@device
def _normaliser_backward(x: Any, at: Any, states: Any, given: Any, out: Any) -> None:
    """Gradients of q and k of the token at (b, t, h), and those of forget and write in the gates'."""
    (before, after), (given, d_n) = states, given
    gated, weight, d_last = given.gated, given.weights[at], given.last[at]
    forget, write = exp(gated.forget[at]), write_strength(x, at, gated.largest[at])
    q, key, dq, dk = x.q[at], gated.key[at], out.q[at], out.k[at]
    written, kept = weight * 0, weight * 0
    for i in range(d_n.shape[0]):
        dq[i] = weight * dq[i] + d_last * after[i]
    for i in range(d_n.shape[0]):
        d_n[i] += d_last * q[i]
        kept += d_n[i] * before[i]
    for i in range(d_n.shape[0]):
        dk[i] += d_n[i]
        written += dk[i] * key[i]
        dk[i] *= write
        d_n[i] *= forget
    out.fgate[at], out.igate[at] = given.forget[at] + forget * kept, written


@device
def _maximum_backward(x: Any, at: Any, m: Any, later: Any, given: Any) -> Any:
    """From the gradients of forget and write to those of the gates; of m before, returned."""
    given, out = given
    d_kept, d_write = out.fgate[at], out.igate[at]
    later += given.largest[at] - d_kept - d_write
    if x.fgate[at] + m >= x.igate[at]:
        d_kept += later
    else:
        d_write += later
    out.igate[at], out.fgate[at] = d_write, d_kept
    return d_kept
