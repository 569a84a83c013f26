"""Work arrays of one thread for the kernels of a whole memory layer."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu import scan_work
from mcore.backends.numba_cpu.fused_inputs import LayerInputs, columns_of


class LayerWork(NamedTuple):
    """Work arrays of forward, for chunks of n tokens and C columns.

    Attributes:
        scan: of the recurrence.
        u, u_t: (n, K), (K, n).
        contexts: (C, K) of all checkpoints of a row and head.
        weights: (C, n) gates.
        online, share, lse: (n,) logits and gates of the online memory, log sum exp.
        sums: (K,) key sum of the open segment.
        q_t: (K, n).
        normalizers: (C, K) of all checkpoints of a row and head.
        denominators, divided: (C, n), and gates divided by them.
    """

    scan: Any
    u: Any
    u_t: Any
    contexts: Any
    weights: Any
    online: Any
    share: Any
    lse: Any
    sums: Any
    q_t: Any
    normalizers: Any
    denominators: Any
    divided: Any


class LayerBackwardWork(NamedTuple):
    """Work arrays of backward.

    Attributes:
        scan: of the recurrence.
        gates: as `LayerWork`, its `scan` the same.
        d_weights: (C, n) gradients of gates, then of logits.
        used: (n,) share times its gradient, then gradients of the online logits.
        means: (n,) scratch.
        dq_t, weighted: (K, n) gradients of queries, scratch.
        d_reads: (n, V) share times dy.
        dy_t: (V, n).
        du: (n, K).
        d_states, d_contexts: (C, K, V), (C, K) gradients of all checkpoints of a row and head.
        d_normalizers: (C, K).
        pools: (chunks, K) key sums before each chunk of a segment.
        d_sums: (K,) gradient of the key sum.
    """

    scan: Any
    gates: Any
    d_weights: Any
    used: Any
    means: Any
    dq_t: Any
    weighted: Any
    d_reads: Any
    dy_t: Any
    du: Any
    d_states: Any
    d_contexts: Any
    d_normalizers: Any
    pools: Any
    d_sums: Any


def layer_work(x: LayerInputs) -> LayerWork:
    """Work arrays of one thread."""
    scan = scan_work.forward_work(x.scan)
    return _gates_work(x, scan, scan.y.shape[0])


def layer_backward_work(x: LayerInputs) -> LayerBackwardWork:
    """Work arrays of one thread."""
    scan = scan_work.backward_work(x.scan)
    rows, values = scan.dy.shape
    gates = _gates_work(x, scan, rows)
    columns, keys = gates.contexts.shape
    chunks, dtype = scan.states.shape[0], x.u.dtype
    shapes: list[tuple[int, ...]] = [(columns, rows), (rows,), (rows,)]
    shapes += [(keys, rows)] * 2 + [(rows, values), (values, rows), (rows, keys)]
    shapes += [(columns, keys, values), (columns, keys), gates.normalizers.shape]
    shapes += [(chunks, keys), (keys,)]
    return LayerBackwardWork(scan, gates, *(np.empty(shape, dtype) for shape in shapes))


def _gates_work(x: LayerInputs, scan: Any, rows: int) -> LayerWork:
    keys, columns, dtype = x.u.shape[3], columns_of(x), x.u.dtype
    shapes: list[tuple[int, ...]] = [(rows, keys), (keys, rows), (columns, keys), (columns, rows)]
    divided = columns if x.divisors.normalizers.size else 0
    shapes += [(rows,)] * 3 + [(keys,), (keys, rows), (divided, keys), *[(divided, rows)] * 2]
    return LayerWork(scan, *(np.empty(shape, dtype) for shape in shapes))
