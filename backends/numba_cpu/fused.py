"""A whole routed memory layer of a matrix rule in fast kernels, row by head in parallel."""

from typing import Any, NamedTuple

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


class FusedSaved(NamedTuple):
    """What a forward keeps: its inputs and outputs, y left out."""

    x: LayerInputs
    out: LayerOutputs
    carried: bool


class FusedLayer(NamedTuple):
    """See `mcore.backend.Fused`."""

    router: Router
    threads: int

    def forward(
        self, inputs: Inputs, queries: Array, stored: Stored, segments: Segments
    ) -> tuple[FusedAnswer, FusedSaved]:
        """y, and the ends of the segments."""
        from mcore.backends.numba_cpu.fused_kernels import layer_kernel
        from mcore.backends.numba_cpu.fused_work import layer_work

        x = layer_inputs(inputs, queries, stored, segments, self.router)
        out = _outputs(x)
        run(layer_kernel, _tasks(x, self.threads), x, layer_work, out)
        answer = FusedAnswer(out.y, flattened(out.states), out.contexts)
        kept = out._replace(y=np.empty((0, 0, 0, 0), out.y.dtype))
        return answer, FusedSaved(x, kept, stored.carry is not None)

    def backward(
        self, saved: FusedSaved, dy: Array, d_states: Array | None, d_contexts: Array | None
    ) -> FusedGradient:
        """Gradients with respect to all that came in."""
        from mcore.backends.numba_cpu.fused_backward_kernels import layer_backward_kernel
        from mcore.backends.numba_cpu.fused_work import layer_backward_work

        x, out = saved.x, saved.out
        given = (out, plain(dy, x.u), *_end_gradients(out, d_states, d_contexts))
        gradients = _gradients(x)
        tasks = _tasks(x, self.threads)
        run(layer_backward_kernel, tasks, x, layer_backward_work, given, gradients)
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


def _outputs(x: LayerInputs) -> LayerOutputs:
    rows, tokens, heads, keys = x.u.shape
    values, count, dtype = x.scan.v.shape[3], x.first.shape[1], x.u.dtype
    return LayerOutputs(
        np.empty((rows, tokens, heads, values), dtype),
        np.zeros((rows, count, heads, keys, values), dtype),
        np.zeros((rows, count, heads, keys), dtype),
        np.empty((rows, tokens, heads), dtype),
        np.empty((rows, tokens, heads), dtype),
    )


def _gradients(x: LayerInputs) -> LayerGradients:
    from mcore.backends.numba_cpu.scan_work import ScanGradients

    scan = ScanGradients(*(np.empty_like(array) for array in x.scan[:6]))
    stock = Stock(*(np.zeros_like(array) for array in x.stock))
    return LayerGradients(scan, np.empty_like(x.u), stock)


def _end_gradients(
    out: LayerOutputs, d_states: Array | None, d_contexts: Array | None
) -> tuple[Any, Any]:
    """As the kernels want them; without elements where there are none."""
    dtype = out.states.dtype
    states, contexts = np.empty((0,) * 5, dtype), np.empty((0,) * 4, dtype)
    if d_states is not None:
        states = plain(d_states, out.states).reshape(out.states.shape)
    if d_contexts is not None:
        contexts = plain(d_contexts, out.states)
    return states, contexts
