"""A whole routed memory layer of a matrix rule in fast kernels, row by head in parallel.

Tokens read all checkpoints, each chunk against one after the other (`fused_*`), or their best few
only, each checkpoint with all of its readers gathered (`sparse_*`).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import FusedAnswer, FusedGradient, Stored
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.fused_inputs import (
    Divisors,
    LayerGradients,
    LayerInputs,
    LayerOutputs,
    Stock,
    layer_inputs,
)
from mcore.backends.numba_cpu.scan import flattened
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs
from mcore.router import Pool, Router
from mcore.segments import Segments

if TYPE_CHECKING:
    from mcore.backends.numba_cpu.sparse_work import SparseOutputs


class FusedSaved(NamedTuple):
    """What a forward keeps: its inputs and outputs, y left out."""

    x: LayerInputs
    out: Any
    carried: bool


class FusedLayer(NamedTuple):
    """See `mcore.backend.Fused`."""

    router: Router
    threads: int

    def forward(
        self, inputs: Inputs, queries: Array, stored: Stored, segments: Segments
    ) -> tuple[FusedAnswer, FusedSaved]:
        """y, and the ends of the segments."""
        x = layer_inputs(inputs, queries, stored, segments, self.router)
        out = outcome(x, self.threads, None)
        answer = FusedAnswer(out.y, flattened(out.states), out.contexts)
        kept = out._replace(y=np.empty((0, 0, 0, 0), out.y.dtype))
        return answer, FusedSaved(x, kept, stored.carry is not None)

    def backward(
        self, saved: FusedSaved, dy: Array, d_states: Array | None, d_contexts: Array | None
    ) -> FusedGradient:
        """Gradients with respect to all that came in."""
        x = saved.x
        gradients = outcome_backward(x, self.threads, (saved.out, dy, d_states, d_contexts))
        scan, stock = gradients.scan, gradients.stock
        found = {"q": scan.q, "k": scan.k, "v": scan.v}
        for name in ("log_decay", "beta"):
            if getattr(x.scan, name).size:
                found[name] = getattr(scan, name)
        carry = scan.carry.reshape(*scan.carry.shape[:2], -1) if saved.carried else None
        pool = Pool(stock.contexts, stock.keys)
        return FusedGradient(found, gradients.u, Stored(carry, flattened(stock.states), pool))


def outcome(x: LayerInputs, threads: int, given: Array | None) -> "LayerOutputs | SparseOutputs":
    """What the kernels make of x; given: (B, S, H, K, V) the checkpoints, if they are."""
    from mcore.backends.numba_cpu.fused_kernels import layer_kernel
    from mcore.backends.numba_cpu.fused_work import layer_work
    from mcore.backends.numba_cpu.sparse_kernels import sparse_kernel
    from mcore.backends.numba_cpu.sparse_work import SparseOutputs, sparse_work

    lead, dtype = x.u.shape[:3], x.u.dtype
    results, tasks = _results(x, given), Tasks(lead[0] * lead[2], threads)
    if x.top_k:
        chosen = np.empty((*lead, x.top_k), np.int32), np.empty((*lead, x.top_k), dtype)
        sparse = SparseOutputs(*results, np.empty(lead, dtype), *chosen)
        run(sparse_kernel, tasks, x, sparse_work, sparse)
        return sparse
    dense = LayerOutputs(*results, np.empty(lead, dtype), np.empty(lead, dtype))
    run(layer_kernel, tasks, x, layer_work, dense)
    return dense


def outcome_backward(x: LayerInputs, threads: int, given: Any) -> LayerGradients:
    """Gradients; given = (outputs, dy, d_states or None, d_contexts or None)."""
    from mcore.backends.numba_cpu.fused_backward_kernels import layer_backward_kernel
    from mcore.backends.numba_cpu.fused_work import layer_backward_work
    from mcore.backends.numba_cpu.sparse_backward_kernels import sparse_backward_kernel
    from mcore.backends.numba_cpu.sparse_work import sparse_backward_work

    out, dy, d_states, d_contexts = given
    gradients, tasks = _gradients(x, out), Tasks(x.u.shape[0] * x.u.shape[2], threads)
    arrays = (out, plain(dy, x.u), *_end_gradients(out, d_states, d_contexts))
    if x.top_k:
        run(sparse_backward_kernel, tasks, x, sparse_backward_work, arrays, gradients)
    else:
        run(layer_backward_kernel, tasks, x, layer_backward_work, arrays, gradients)
    return gradients


def _results(x: LayerInputs, given: Array | None) -> tuple[Array, Array, Array]:
    """Room for y, and for the memories and contexts at the ends of segments."""
    rows, tokens, heads, keys = x.u.shape
    values, count, dtype = x.scan.v.shape[3], x.first.shape[1], x.u.dtype
    states = np.zeros((rows, count, heads, keys, values), dtype) if given is None else given
    contexts = np.zeros((rows, count, heads, keys), dtype)
    return np.empty((rows, tokens, heads, values), dtype), states, contexts


def _gradients(x: LayerInputs, out: Any) -> LayerGradients:
    from mcore.backends.numba_cpu.scan_work import ScanGradients

    scan = ScanGradients(*(np.empty_like(array) for array in x.scan[:6]))
    stock = Stock(*(np.zeros_like(array) for array in x.stock))
    divisors = Divisors(*(np.zeros_like(array) for array in x.divisors))
    states = np.zeros_like(out.states) if x.given else np.empty((0,) * 5, x.u.dtype)
    return LayerGradients(scan, np.empty_like(x.u), stock, divisors, states)


def _end_gradients(out: Any, d_states: Array | None, d_contexts: Array | None) -> tuple[Any, Any]:
    """As the kernels want them; without elements where there are none."""
    dtype = out.states.dtype
    states, contexts = np.empty((0,) * 5, dtype), np.empty((0,) * 4, dtype)
    if d_states is not None:
        states = plain(d_states, out.states).reshape(out.states.shape)
    if d_contexts is not None:
        contexts = plain(d_contexts, out.states)
    return states, contexts
