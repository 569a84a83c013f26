"""The running maximum of a matrix LSTM, and what it makes of the gates; token after token.

    m_t = max(f_t + m_{t-1}, i_t)      forget_t = f_t + m_{t-1} - m_t      write_t = i_t - m_t

with f the log forget gate and i the input gate; forget and write are logarithms, at most 0.
"""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.caching import kernel


class GateInputs(NamedTuple):
    """Arrays of the gates.

    Attributes:
        igate, fgate: (B, T, H); fgate after its log-sigmoid.
        carry: (B, H) m of the state to go on from.
        restart: (B, T) bool: m is 0 before this token.
    """

    igate: Any
    fgate: Any
    carry: Any
    restart: Any


def no_work(x: GateInputs) -> None:
    """These kernels need no work arrays."""


@kernel
def gates_kernel(span: Any, x: Any, work: Any, forget: Any, write: Any, largest: Any) -> None:
    """forget, write and m (B, T, H) for the tasks (row, head) in `span`."""
    tokens, heads = x.igate.shape[1:]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        m = x.carry[b, h]
        for t in range(tokens):
            kept = x.fgate[b, t, h] + (m * 0 if x.restart[b, t] else m)
            m = max(kept, x.igate[b, t, h])
            forget[b, t, h], write[b, t, h] = kept - m, x.igate[b, t, h] - m
            largest[b, t, h] = m


@kernel
def gates_backward_kernel(span: Any, x: Any, work: Any, largest: Any, given: Any, out: Any) -> None:
    """out = gradients of igate, fgate, carry; given = those of forget, write, m."""
    d_forget, d_write, d_largest = given
    d_igate, d_fgate, d_carry = out
    tokens, heads = x.igate.shape[1:]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        later = x.carry[b, h] * 0
        for t in range(tokens - 1, -1, -1):
            d_kept, d_input = d_forget[b, t, h], d_write[b, t, h]
            later += d_largest[b, t, h] - d_kept - d_input
            before = x.carry[b, h] if t == 0 else largest[b, t - 1, h]
            kept = x.fgate[b, t, h] + (before * 0 if x.restart[b, t] else before)
            if kept >= x.igate[b, t, h]:
                d_kept += later
            else:
                d_input += later
            d_igate[b, t, h], d_fgate[b, t, h] = d_input, d_kept
            later = d_kept * 0 if x.restart[b, t] else d_kept
        d_carry[b, h] = later
