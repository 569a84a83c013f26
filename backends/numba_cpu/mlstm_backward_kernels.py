"""Gradients of the gates and the normaliser of a matrix LSTM: tokens from the last.

The normaliser of a segment is replayed from the end of the segment before. The maximum passes its
gradient to the larger of its two arguments.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.mlstm_kernels import AHEAD, GateInputs, gate_work, set_strengths
from mcore.backends.numba_cpu.prefetch import prefetch_row


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
    """Work arrays of one thread.

    Attributes:
        forget, write, n: as in `Strengths`; n is the gradient of the normaliser.
        states: (L + 1, K) n before each token of a segment and at its end.
        kept, written: (L,) gradients of forget (the scan's part left out) and write.
    """

    forget: Any
    write: Any
    n: Any
    states: Any
    kept: Any
    written: Any


def gate_backward_work(x: GateInputs) -> GateBackwardWork:
    """Work arrays of one thread."""
    strengths = gate_work(x)
    longest, keys = strengths.forget.shape[0], strengths.n.shape[0]
    shapes: list[tuple[int, ...]] = [(longest + 1, keys), (longest,), (longest,)]
    return GateBackwardWork(*strengths, *(np.empty(shape, x.q.dtype) for shape in shapes))


@kernel
def gates_backward_kernel(span: Any, x: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients for the tasks (row, head) in `span`; given: a `GateGiven`, out: `GateGradients`."""
    heads, d_n = x.q.shape[2], work.n
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        later = x.largest[b, h] * 0
        for i in range(d_n.shape[0]):
            d_n[i] = 0
        for s in range(x.restart.shape[1] - 1, -1, -1):
            if x.bounds[b, s] < x.bounds[b, s + 1]:
                for i in range(d_n.shape[0]):
                    d_n[i] += given.normalizers[b, s, h, i]
                before = _replay(x, (b, h, s), given.gated, work)
                segment = (b, h, x.bounds[b, s], x.bounds[b, s + 1])
                _normaliser_backward(x, segment, work, given, out)
                later = _maxima_backward(x, segment, (before, later), (work, given), out)
                if x.restart[b, s]:
                    later *= 0
                    for i in range(d_n.shape[0]):
                        d_n[i] = 0
        out.largest[b, h] = later
        for i in range(d_n.shape[0]):
            out.normalizer[b, h, i] = d_n[i]


@device
def _replay(x: Any, place: Any, gated: Any, work: Any) -> Any:
    """Strengths and states of segment `place` = (b, h, s); returns m before it."""
    b, h, s = place
    first, last = x.bounds[b, s], x.bounds[b, s + 1]
    set_strengths(x, (b, h, first, last), gated, work)
    states, before = work.states, x.largest[b, h]
    start = x.normalizer[b, h] if s == 0 else gated.normalizers[b, s - 1, h]
    if s > 0:
        before = gated.largest[b, first - 1, h]
    for i in range(states.shape[1]):
        states[0, i] = start[i]
    if x.restart[b, s]:
        before *= 0
        for i in range(states.shape[1]):
            states[0, i] = 0
    for j in range(last - first):
        forget, key = work.forget[j], gated.key[b, first + j, h]
        for i in range(states.shape[1]):
            states[j + 1, i] = forget * states[j, i] + key[i]
    return before


@device
def _normaliser_backward(x: Any, segment: Any, work: Any, given: Any, out: Any) -> None:
    """Gradients of q, k, forget and write of the tokens of `segment` = (b, h, first, last)."""
    b, h, first, last = segment
    d_n = work.n
    for t in range(last - 1, first - 1, -1):
        ahead = max(t - AHEAD, first)
        prefetch_row(x.q[b, ahead, h])
        prefetch_row(out.q[b, ahead, h])
        prefetch_row(out.k[b, ahead, h])
        weight, d_last = given.weights[b, t, h], given.last[b, t, h]
        q, dq, after = x.q[b, t, h], out.q[b, t, h], work.states[t - first + 1]
        for i in range(d_n.shape[0]):
            dq[i] = weight * dq[i] + d_last * after[i]
            d_n[i] += d_last * q[i]
        forget, write = work.forget[t - first], work.write[t - first]
        key, dk, before = given.gated.key[b, t, h], out.k[b, t, h], work.states[t - first]
        written, kept = write * 0, write * 0
        for i in range(d_n.shape[0]):
            kept += d_n[i] * before[i]
            written += (dk[i] + d_n[i]) * key[i]
        for i in range(d_n.shape[0]):
            dk[i] = write * (dk[i] + d_n[i])
            d_n[i] *= forget
        work.kept[t - first], work.written[t - first] = forget * kept, written


@device
def _maxima_backward(x: Any, segment: Any, ends: Any, given: Any, out: Any) -> Any:
    """Gradients of the gates of `segment` = (b, h, first, last), and of m before it, returned.

    ends: m before the segment, and the gradient of m at its end.
    """
    b, h, first, last = segment
    before, later = ends
    work, given = given
    for t in range(last - 1, first - 1, -1):
        d_kept, d_write = given.forget[b, t, h] + work.kept[t - first], work.written[t - first]
        later += given.largest[b, t, h] - d_kept - d_write
        m = before if t == first else given.gated.largest[b, t - 1, h]
        if x.fgate[b, t, h] + m >= x.igate[b, t, h]:
            d_kept += later
        else:
            d_write += later
        out.igate[b, t, h], out.fgate[b, t, h] = d_write, d_kept
        later = d_kept
    return later
