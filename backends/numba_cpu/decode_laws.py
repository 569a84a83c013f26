"""A token is written into the online memory, which is then read.

S <- diag(a) S + l r^T + l' r'^T,    answer = S^T q

    rule                 l           r               l'              r'
    adds                 beta k      v
    delta rules          beta k      v - a S^T k
    rwkv7                k           v               -kk * strength  S^T kk
    swla                 beta k      v               beta_prev k'    v'         of the token before
    mlstm                i' k        v, 1            a = f', in units of the running maximum
"""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import Asked, add_answers, clear, write_once, write_twice
from mcore.backends.numba_cpu.elementwise import exp, log_sigmoid


@device
def load(token: Any, place: Any, plan: Any, work: Any) -> None:
    """What the rules have in common: q and k mapped, k as left side, v as right side, decays."""
    b, h = place
    one = work.q.dtype.type(1)
    for i in range(work.q.shape[0]):
        work.q[i], work.k[i] = token.q[b, 0, h, i], token.k[b, 0, h, i]
    if plan[at.MAPPED]:
        for i in range(work.q.shape[0]):
            work.q[i] = _positive(work.q[i])
            work.k[i] = _positive(work.k[i])
    beta = token.beta[b, 0, h] if token.beta.size else one
    decay = exp(token.decay[b, 0, h]) if token.decay.size else one
    for i in range(work.q.shape[0]):
        work.left[i], work.decays[i] = beta * work.k[i], decay
    if token.decays.size:
        for i in range(work.q.shape[0]):
            work.decays[i] = exp(token.decays[b, 0, h, i])
    for j in range(token.v.shape[3]):
        work.right[j] = token.v[b, 0, h, j]
    if plan[at.DIVIDED]:
        work.right[token.v.shape[3]] = one


@device
def _positive(x: Any) -> Any:
    zero = x * 0
    return max(x, zero) + exp(min(x, zero))


@device
def write(token: Any, place: Any, memory: Any, work: Any) -> None:
    """Update the online memory, and leave what it answers in `work.answer`."""
    b, h = place
    law, state = memory.plan[at.LAW], memory.online[b, h]
    body = state[: work.q.shape[0]]
    if law == at.CORRECTS:
        recall(memory, place, work.k, work, work.other)
        for j in range(work.right.shape[0]):
            work.right[j] -= work.decays[0] * work.other[j]
    elif law == at.EXPONENTIAL:
        _weigh(token, place, state, work)
    if law == at.REMOVES:
        _recall_removed(token, place, memory, work)
        write_twice(body, work.decays, work.left, work.right, work.again, work.other)
    elif law == at.REPEATS:
        _repeat(token, place, state, work)
        write_twice(body, work.decays, work.left, work.right, work.again, work.other)
        _remember(token, place, state, work)
    else:
        write_once(body, work.decays, work.left, work.right)
    recall(memory, place, work.q, work, work.answer)


@device
def recall(memory: Any, place: Any, key: Any, work: Any, answer: Any) -> None:
    """`answer = S^T key` of the online memory."""
    b, h = place
    first = b * memory.online.shape[1] + h
    clear(answer)
    add_answers(memory.online, Asked(first, 1, work.one, 0, key, memory.scales), answer)


@device
def _recall_removed(token: Any, place: Any, memory: Any, work: Any) -> None:
    b, h = place
    for i in range(work.again.shape[0]):
        work.again[i] = token.removal[b, 0, h, i]
    recall(memory, place, work.again, work, work.other)
    for i in range(work.again.shape[0]):
        work.again[i] *= -token.strength[b, 0, h, i]


@device
def _repeat(token: Any, place: Any, state: Any, work: Any) -> None:
    """What the token before left in the state's last column and row."""
    b, h = place
    keys, values = work.q.shape[0], token.v.shape[3]
    for i in range(keys):
        work.again[i] = token.more[b, 0, h] * state[i, values]
    for j in range(values):
        work.other[j] = state[keys, j]


@device
def _remember(token: Any, place: Any, state: Any, work: Any) -> None:
    b, h = place
    keys, values = work.q.shape[0], token.v.shape[3]
    for i in range(keys):
        state[i, values] = work.k[i]
    for j in range(values):
        state[keys, j] = token.v[b, 0, h, j]


@device
def _weigh(token: Any, place: Any, state: Any, work: Any) -> None:
    """Gates of a matrix LSTM, relative to the new running maximum."""
    b, h = place
    keys, gate = work.q.shape[0], token.beta[b, 0, h]
    kept = log_sigmoid(token.decay[b, 0, h]) + state[keys, 0]
    largest = max(kept, gate)
    share = exp(gate - largest) / np.sqrt(work.q.dtype.type(keys))
    forget = exp(kept - largest)
    for i in range(keys):
        work.left[i], work.decays[i] = share * work.k[i], forget
    state[keys, 0] = largest
