"""Gradients of cached reads of perceptrons: for each checkpoint and each block of tokens it serves,

P = Q w_in        D = dY w_out^T        dP = w . gelu'(P) . D
dQ += w . dY + dP w_in^T        dw_in += Q^T dP        dw_out += (w . gelu(P))^T dY
dw_t = <dy_t, q_t> + <d_t, gelu(p_t)>
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import load_rows
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.deep_read_kernels import DeepReadInputs, choose_block
from mcore.backends.numba_cpu.deep_read_kernels import work as read_work
from mcore.backends.numba_cpu.gelu_vector import normal
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.visible import pick_rows


class DeepReadBackwardWork(NamedTuple):
    """Work arrays of one thread, as in `DeepReadWork` but for `before`, and:

    Attributes:
        dq: (n, K), in place of `answers`.
        dy, picked_dy: (n, K).
        d_hidden: (n, E).
        w_in_t: (E, K) of one checkpoint, in place of `w_out`.
    """

    q: Any
    picked: Any
    dq: Any
    hidden: Any
    w_in_t: Any
    weights: Any
    first: Any
    last: Any
    chosen: Any
    dy: Any
    picked_dy: Any
    d_hidden: Any


def backward_work(x: DeepReadInputs) -> DeepReadBackwardWork:
    """Work arrays of one thread for `deep_read_backward_kernel`."""
    shared = read_work(x)
    dy, picked_dy, d_hidden = (np.empty_like(x) for x in (shared.q, shared.q, shared.before))
    return DeepReadBackwardWork(*shared[:3], *shared[4:], dy, picked_dy, d_hidden)


@kernel
def deep_read_backward_kernel(span: Any, x: Any, work: Any, dy: Any, out: Any) -> None:
    """Adds to out = (dq, d_states, d_gates), zeros at first, for the tasks in `span`."""
    heads, tokens, rows, keys = x.q.shape[2], x.q.shape[1], work.q.shape[0], x.q.shape[3]
    for task in range(span[0], span[1]):
        b, h = task // heads, task % heads
        for column in range(x.first[b].min(), x.last[b].max()):
            transpose(x.states[b, column, h, :keys], work.w_in_t)
            for begin in range(0, tokens, rows):
                place = (b, h, begin, min(rows, tokens - begin))
                count = choose_block(x, place, column, work)
                if count > 0:
                    _block_backward(x, place, (column, count, work), dy, out)


@device
def _block_backward(x: Any, place: Any, given: Any, dy: Any, out: Any) -> None:
    """One checkpoint, for the chosen rows of a block."""
    column, count, work = given
    b, h, begin, _ = place
    load_rows(x.q, place, work.q)
    load_rows(dy, place, work.dy)
    q = pick_rows(work.q, work.chosen, count, work.picked)
    d_answers = pick_rows(work.dy, work.chosen, count, work.picked_dy)
    state, d_state = x.states[b, column, h], out[1][b, column, h]
    hidden, d_hidden, keys = work.hidden[:count], work.d_hidden[:count], q.shape[1]
    gemm(q, state[:keys], hidden, 1.0, 0, FULL)
    gemm(d_answers, state[keys : 2 * keys], d_hidden, 1.0, 0, FULL)
    _hidden_backward(x, (b, h, begin, column), (q, d_answers), work, out[2])
    gemm(q.T, d_hidden, d_state[:keys], 1.0, 1, FULL)
    gemm(d_answers.T, hidden, d_state[keys : 2 * keys], 1.0, 1, FULL)
    gemm(d_hidden, work.w_in_t, work.dq, 1.0, 0, FULL)
    for r in range(count):
        t = work.chosen[r]
        for j in range(keys):
            out[0][b, begin + t, h, j] += work.weights[t] * d_answers[r, j] + work.dq[r, j]


@device
def _hidden_backward(x: Any, place: Any, rows: Any, work: Any, d_gates: Any) -> None:
    """From P in `hidden` and D in `d_hidden`: `w . gelu(P)`, dP, and the gates' gradient."""
    b, h, begin, column = place
    q, dy = rows
    for r in range(q.shape[0]):
        t, total = work.chosen[r], x.q.dtype.type(0)
        weight, hidden, d_hidden = work.weights[t], work.hidden[r], work.d_hidden[r]
        for j in range(q.shape[1]):
            total += q[r, j] * dy[r, j]
        for e in range(hidden.shape[0]):
            before = hidden[e]
            below, density = normal(before)
            total += before * below * d_hidden[e]
            hidden[e] = weight * before * below
            d_hidden[e] *= weight * (below + before * density)
        if d_gates.size and weight != 0:
            d_gates[b, begin + t, h, column] = total
