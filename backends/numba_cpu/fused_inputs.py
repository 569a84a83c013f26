"""What the kernels of a whole memory layer work on: its arrays, and the gradients of them."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Stored
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.scan import scan_arrays
from mcore.recurrence import Inputs
from mcore.router import Router
from mcore.segments import Segments


class Stock(NamedTuple):
    """What came in with the state.

    Attributes:
        states: (B, cached, H, K, V) checkpoints.
        contexts: (B, cached, H, K) of these.
        keys: (B, H, K) key sum of the open segment.
    """

    states: Any
    contexts: Any
    keys: Any


class Divisors(NamedTuple):
    """What the answers of checkpoints are divided by; without elements where they are not.

    Attributes:
        normalizers: (B, C, H, K) n of each checkpoint, whose denominator is n . q + eps;
        floors: (B, C, H) or, with these, max(|n . q|, floor) + eps.
    """

    normalizers: Any
    floors: Any


class LayerInputs(NamedTuple):
    """Arrays of a routed memory layer.

    Attributes:
        scan: what the recurrence works on.
        given: 1 if the online memory's answers are given as `scan.v`, and the checkpoints too.
        divisors: of the checkpoints' answers.
        u: (B, T, H, K).
        stock: what came in with the state.
        first, last, offset: of `Segments`.
        top_k: how many checkpoints are read; 0 for all.
        sums, outside, detach: 1 for the router's `pool: sum`, `online: outside`, `detach`; else 0.
    """

    scan: Any
    given: Any
    divisors: Any
    u: Any
    stock: Any
    first: Any
    last: Any
    offset: Any
    top_k: Any
    sums: Any
    outside: Any
    detach: Any


class LayerOutputs(NamedTuple):
    """What a forward writes.

    Attributes:
        y: (B, T, H, V).
        states: (B, S, H, K, V) the memory at the end of each segment.
        contexts: (B, S, H, K) mean key, or key sum, of each segment.
        online: (B, T, H) logits of the online memory.
        lse: (B, T, H) log sum exp of each token's logits.
    """

    y: Any
    states: Any
    contexts: Any
    online: Any
    lse: Any


class LayerGradients(NamedTuple):
    """What a backward writes: gradients of the scan's arrays, of u, of the stock, of divisors, and
    of the checkpoints (B, S, H, K, V) where they were given."""

    scan: Any
    u: Any
    stock: Any
    divisors: Any
    states: Any


def layer_inputs(
    inputs: Inputs, queries: Array, stored: Stored, segments: Segments, router: Router
) -> LayerInputs:
    """Arrays as the kernels want them."""
    carry, cached, pool = stored
    scan = scan_arrays(inputs, carry, segments, False)
    rows, _, heads, keys = scan.q.shape
    shape = (rows, segments.cached, heads, keys, scan.v.shape[3])
    states = plain(cached, scan.q).reshape(shape)
    stock = Stock(states, plain(pool.contexts, scan.q), plain(pool.keys, scan.q))
    first, last, offset = (plain(x) for x in (segments.first, segments.last, segments.offset))
    return LayerInputs(
        scan, 0, _undivided(scan.q), plain(queries, scan.q), stock, first, last, offset,
        router.top_k or 0,
        int(router.pool == "sum"), int(router.online == "outside"), int(router.detach),
    )  # fmt: skip


def _undivided(like: Array) -> Divisors:
    return Divisors(np.empty((0,) * 4, like.dtype), np.empty((0,) * 3, like.dtype))


def columns_of(x: LayerInputs) -> int:
    """Number of checkpoint columns, as `Segments.columns`."""
    return int(x.stock.states.shape[1] + x.first.shape[1] - 1)
