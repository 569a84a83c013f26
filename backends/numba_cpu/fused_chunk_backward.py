"""One chunk of a routed memory layer backwards.

For gates w, g and each checkpoint i that the chunk reads, transposed so that loops run over tokens:

    X = S_i dY^T        dw_it = <q_t, X_t>        dQ^T += w_i . X        dS_i += (w_i . Q^T) dY

The online memory's gate needs no answers: g dg is the sum of the chunk's decayed pair products.
"""

from typing import Any

from mcore.backends.numba_cpu.blocks import (
    add,
    clear,
    copy_vector,
    load_rows,
    load_scalars,
    row_dot,
    scale_rows,
)
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.chunk import chunk_backward
from mcore.backends.numba_cpu.delta import correct_backward
from mcore.backends.numba_cpu.fused_gates import (
    again_softmax,
    chunk_logits,
    softmax_backward,
)
from mcore.backends.numba_cpu.fused_pool import pool_backward
from mcore.backends.numba_cpu.fused_quotient import divide_gates, divide_gates_backward
from mcore.backends.numba_cpu.fused_start import APART, merge_start, merge_start_backward
from mcore.backends.numba_cpu.gemm import FULL, gemm, transpose
from mcore.backends.numba_cpu.weigh import weigh


@device
def regate(x: Any, place: Any, ends: Any, work: Any) -> None:
    """The gates of a chunk once more, from what forward kept; place = (s, tokens)."""
    s, tokens = place
    b, gates = tokens[0], work.gates
    load_rows(x.u, tokens, gates.u)
    transpose(gates.u, gates.u_t)
    load_scalars(ends.online, tokens, gates.online)
    load_scalars(ends.lse, tokens, gates.lse)
    first, last = x.first[b, s], x.last[b, s]
    weights = gates.weights[first:last]
    chunk_logits(gates.contexts[first:last], gates.u_t, weights)
    again_softmax(weights, (gates.online, gates.lse, gates.share), x.outside, work.means)
    if x.divisors.normalizers.size:
        divide_gates(x, (b, tokens[1], s), work.scan.chunk.q, gates)


@device
def read_backward(x: Any, place: Any, states: Any, merged: int, work: Any) -> None:
    """Through the cached reads: dQ^T in `dq_t`, gradients of gates and checkpoints.

    merged: the column that the chunk goes on from, or `APART`.
    """
    b, h, s = place
    first, last, cached = x.first[b, s], x.last[b, s], x.stock.states.shape[1]
    arrays = (work.dy_t, work.gates.q_t, work.dq_t, work.weighted)
    transpose(work.scan.chunk.q, work.gates.q_t)
    transpose(work.scan.dy, work.dy_t)
    clear(work.dq_t)
    clear(work.d_weights[first:last])
    if merged != APART:
        copy_vector(work.gates.weights[merged], work.means)
        merge_start(work.gates.share, work.scan.chunk.decay.since, work.gates.weights[merged])
    divided = x.divisors.normalizers.size > 0
    gates = (work.gates.divided if divided else work.gates.weights, work.d_weights)
    for column in range(first, min(last, cached)):
        state, d_state = x.stock.states[b, column, h], work.d_states[column]
        _checkpoint_backward((state, d_state), column, gates, arrays, work.scan.dy)
    for column in range(max(first, cached), last):
        state, d_state = states[b, column - cached, h], work.d_states[column]
        _checkpoint_backward((state, d_state), column, gates, arrays, work.scan.dy)
    if merged != APART:
        copy_vector(work.means, work.gates.weights[merged])


@device
def _checkpoint_backward(memory: Any, column: int, gates: Any, arrays: Any, dy: Any) -> None:
    (state, d_state), (dy_t, q_t, dq_t, weighted) = memory, arrays
    weigh(state, dy_t, q_t, dq_t, weighted, gates[0][column], gates[1][column])
    gemm(weighted, dy, d_state, 1.0, 1, FULL)


@device
def online_backward(x: Any, i: int, beginning: Any, work: Any) -> Any:
    """Through the online reads of chunk i: gradients of its inputs in `scan.out`, g dg in `used`.

    beginning = (the memory was zero, the column that it was read as, or `APART`).

    Returns the gradient of the decay of the whole chunk, times that decay.
    """
    fresh, merged = beginning
    scan, share = work.scan, work.gates.share
    if x.given:
        return _given_backward(scan, share, work.used)
    scale_rows(scan.dy, share, work.d_reads)
    start = (scan.states[i], fresh, merged == APART)
    whole = chunk_backward(scan.chunk, start, work.d_reads, scan.d_state, scan.scratch, scan.out)
    if merged != APART:
        d_weights, since = work.d_weights[merged], scan.chunk.decay.since
        merge_start_backward(share, since, d_weights, scan.out.used.since)
    for t in range(share.shape[0]):
        total = scan.out.used.since[t]
        for j in range(t + 1):
            total += scan.out.used.pairs[t, j]
        work.used[t] = total
    if x.scan.beta.size:
        correct_backward(scan.chunk, fresh, scan.errors[i], scan.d_state, scan.scratch, scan.out)
    return whole


@device
def _given_backward(scan: Any, share: Any, used: Any) -> Any:
    """As `online_backward` where the answers were given in place of v: its gradient is theirs."""
    clear(scan.out.q)
    clear(scan.out.k)
    for t in range(share.shape[0]):
        used[t] = share[t] * row_dot(scan.dy, scan.chunk.v, t)
    scale_rows(scan.dy, share, scan.out.v)
    return scan.dy[0, 0] * 0


@device
def gates_backward(x: Any, place: Any, chunk: Any, work: Any, gradients: Any) -> None:
    """Through the gates of `chunk` = (i, n, tokens of the segment before it)."""
    b, _, s = place
    i, n, count = chunk
    gates, out = work.gates, work.scan.out
    first, last = x.first[b, s], x.last[b, s]
    if x.divisors.normalizers.size:
        divide_gates_backward(x, place, work, gradients.divisors.floors)
    d_logits = work.d_weights[first:last]
    softmax_backward(
        (gates.weights[first:last], gates.share), (d_logits, work.used), x.outside, work.means
    )
    scale = 1 / (x.u.dtype.type(x.u.shape[3])) ** 0.5
    gemm(d_logits.T, gates.contexts[first:last], work.du, scale, 0, FULL)
    gemm(d_logits, gates.u, work.d_contexts[first:last], scale, 1, FULL)
    for t in range(n):
        work.used[t] *= scale
    tokens = (n, work.scan.chunk.k, gates.u)
    pool_backward(x, tokens, count, (work.pools[i], work.d_sums), (work.used, work.du, out.k))
    transpose(work.dq_t, gates.u)
    add(gates.u, out.q)
