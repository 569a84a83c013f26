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
        out = (_sparse if x.top_k else _dense)(x, self.threads)
        answer = FusedAnswer(out.y, flattened(out.states), out.contexts)
        kept = out._replace(y=np.empty((0, 0, 0, 0), out.y.dtype))
        return answer, FusedSaved(x, kept, stored.carry is not None)

    def backward(
        self, saved: FusedSaved, dy: Array, d_states: Array | None, d_contexts: Array | None
    ) -> FusedGradient:
        """Gradients with respect to all that came in."""
        x, out = saved.x, saved.out
        given = (out, plain(dy, x.u), *_end_gradients(out, d_states, d_contexts))
        gradients = _gradients(x)
        (_sparse_backward if x.top_k else _dense_backward)(x, self.threads, given, gradients)
        scan, stock = gradients.scan, gradients.stock
        found = {"q": scan.q, "k": scan.k, "v": scan.v}
        for name in ("log_decay", "beta"):
            if getattr(x.scan, name).size:
                found[name] = getattr(scan, name)
        carry = scan.carry.reshape(*scan.carry.shape[:2], -1) if saved.carried else None
        pool = Pool(stock.contexts, stock.keys)
        return FusedGradient(found, gradients.u, Stored(carry, flattened(stock.states), pool))


def _tasks(x: LayerInputs, threads: int) -> Tasks:
    return Tasks(x.u.shape[0] * x.u.shape[2], threads)


def _dense(x: LayerInputs, threads: int) -> LayerOutputs:
    from mcore.backends.numba_cpu.fused_kernels import layer_kernel
    from mcore.backends.numba_cpu.fused_work import layer_work

    logits = (np.empty(x.u.shape[:3], x.u.dtype) for _ in range(2))
    out = LayerOutputs(*_results(x), *logits)
    run(layer_kernel, _tasks(x, threads), x, layer_work, out)
    return out


def _sparse(x: LayerInputs, threads: int) -> "SparseOutputs":
    from mcore.backends.numba_cpu.sparse_kernels import sparse_kernel
    from mcore.backends.numba_cpu.sparse_work import SparseOutputs, sparse_work

    lead = x.u.shape[:3]
    chosen = np.empty((*lead, x.top_k), np.int32), np.empty((*lead, x.top_k), x.u.dtype)
    out = SparseOutputs(*_results(x), np.empty(lead, x.u.dtype), *chosen)
    run(sparse_kernel, _tasks(x, threads), x, sparse_work, out)
    return out


def _dense_backward(x: LayerInputs, threads: int, given: Any, gradients: LayerGradients) -> None:
    from mcore.backends.numba_cpu.fused_backward_kernels import layer_backward_kernel
    from mcore.backends.numba_cpu.fused_work import layer_backward_work

    tasks = _tasks(x, threads)
    run(layer_backward_kernel, tasks, x, layer_backward_work, given, gradients)


def _sparse_backward(x: LayerInputs, threads: int, given: Any, gradients: LayerGradients) -> None:
    from mcore.backends.numba_cpu.sparse_backward_kernels import sparse_backward_kernel
    from mcore.backends.numba_cpu.sparse_work import sparse_backward_work

    tasks = _tasks(x, threads)
    run(sparse_backward_kernel, tasks, x, sparse_backward_work, given, gradients)


def _results(x: LayerInputs) -> tuple[Array, Array, Array]:
    """Room for y, and for the memories and contexts at the ends of segments."""
    rows, tokens, heads, keys = x.u.shape
    values, count, dtype = x.scan.v.shape[3], x.first.shape[1], x.u.dtype
    return (
        np.empty((rows, tokens, heads, values), dtype),
        np.zeros((rows, count, heads, keys, values), dtype),
        np.zeros((rows, count, heads, keys), dtype),
    )


def _gradients(x: LayerInputs) -> LayerGradients:
    from mcore.backends.numba_cpu.scan_work import ScanGradients

    scan = ScanGradients(*(np.empty_like(array) for array in x.scan[:6]))
    stock = Stock(*(np.zeros_like(array) for array in x.stock))
    return LayerGradients(scan, np.empty_like(x.u), stock)


def _end_gradients(out: Any, d_states: Array | None, d_contexts: Array | None) -> tuple[Any, Any]:
    """As the kernels want them; without elements where there are none."""
    dtype = out.states.dtype
    states, contexts = np.empty((0,) * 5, dtype), np.empty((0,) * 4, dtype)
    if d_states is not None:
        states = plain(d_states, out.states).reshape(out.states.shape)
    if d_contexts is not None:
        contexts = plain(d_contexts, out.states)
    return states, contexts
