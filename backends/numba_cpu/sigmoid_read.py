"""Reads under the `sigmoid` readout in one kernel, row by head in parallel, for linear reads."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import AnswerGates, SigmoidGradient
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.fused_anatomy import Anatomy, Body
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.segments import Segments


class SigmoidInputs(NamedTuple):
    """Arrays of a read.

    Attributes:
        q, reads: (B, T, H, K) queries, (B, T, H, V) answers of the online memory.
        states: (B, C, H, K, V) checkpoints.
        online, cached, bias: (H, V, V), (H, V, V), (H, V) what makes gates of answers.
        bounds, first, last: of `Segments`.
    """

    q: Any
    reads: Any
    states: Any
    online: Any
    cached: Any
    bias: Any
    bounds: Any
    first: Any
    last: Any


class SigmoidSaved(NamedTuple):
    """What a forward keeps: its arrays, and the checkpoints as they came."""

    x: SigmoidInputs
    checkpoints: Array


class SigmoidLayer(NamedTuple):
    """See `mcore.backend.SigmoidRead`.

    Attributes:
        anatomy: of the rule's checkpoints.
        threads: number of threads.
    """

    anatomy: Anatomy
    threads: int

    def forward(
        self, q: Array, reads: Array, checkpoints: Array, gates: AnswerGates, segments: Segments
    ) -> tuple[Array, SigmoidSaved]:
        """y (B, T, H, V)."""
        from mcore.backends.numba_cpu.sigmoid_read_kernels import forward_work, sigmoid_kernel

        matrices = self.anatomy.split(checkpoints, q.shape[-1]).matrix
        arrays = (plain(a, reads) for a in (q, reads, matrices, *gates))
        cuts = (plain(a) for a in (segments.bounds, segments.first, segments.last))
        x = SigmoidInputs(*arrays, *cuts)
        y = np.empty_like(x.reads)
        run(sigmoid_kernel, Tasks(y.shape[0] * y.shape[2], self.threads), x, forward_work, y)
        return y, SigmoidSaved(x, checkpoints)

    def backward(self, saved: SigmoidSaved, dy: Array) -> SigmoidGradient:
        """Gradients with respect to all that came in."""
        from mcore.backends.numba_cpu.sigmoid_read_backward import backward_work, sigmoid_backward

        x = saved.x
        rows, _, heads, values = x.reads.shape
        matrix = (rows, heads, values, values)
        out = (
            np.empty_like(x.q), np.empty_like(x.reads), np.zeros_like(x.states),
            *(np.zeros(shape, x.q.dtype) for shape in (matrix, matrix, matrix[:-1])),
        )  # fmt: skip
        tasks = Tasks(rows * heads, self.threads)
        run(sigmoid_backward, tasks, x, backward_work, plain(dy, x.q), out)
        d_checkpoints = self.anatomy.join(saved.checkpoints, Body(out[2]))
        gates = AnswerGates(*(part.sum(axis=0) for part in out[3:]))
        return SigmoidGradient(out[0], out[1], d_checkpoints, gates)
