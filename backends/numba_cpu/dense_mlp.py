"""`swiglu` with both projections in one product, and the gates in one pass between products."""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.apart import apart
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.caching import kernel
from mcore.backends.numba_cpu.dense_norm import no_work
from mcore.backends.numba_cpu.dense_rows import BLOCK, blocks
from mcore.backends.numba_cpu.elementwise import sigmoid
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.layers import mlp as _plain
from mcore.layers.linear import rows

FEW = 32
"""Tokens for which joining the weights takes longer than it saves."""


class Both(NamedTuple):
    """Pre-activations (N, 2 E): the gate's, then those that it gates."""

    both: Array


class MlpSaved(NamedTuple):
    """What `swiglu` keeps: x (N, D), pre-activations, [W_gate W_up] (D, 2 E), W_down (E, D)."""

    x: Array
    both: Array
    w_both: Array
    w_down: Array
    shape: tuple[int, ...]


def swiglu(
    x: Array, w_gate: Array, w_up: Array, w_down: Array, *, threads: int
) -> tuple[Array, Any]:
    """See `mcore.layers.mlp.swiglu`."""
    if x.size // x.shape[-1] < FEW:
        return _plain.swiglu(x, w_gate, w_up, w_down)
    flat, w_both = rows(x), np.concatenate([w_gate, w_up], axis=1)
    both = plain(flat @ w_both)
    hidden = np.empty((len(flat), w_up.shape[1]), both.dtype)
    run(mlp_kernel, Tasks(blocks(len(flat)), threads), Both(both), no_work, hidden)
    return (hidden @ w_down).reshape(x.shape), MlpSaved(flat, both, w_both, w_down, x.shape)


def swiglu_backward(saved: Any, dy: Array, *, threads: int) -> tuple[Array, Array, Array, Array]:
    """See `mcore.layers.mlp.swiglu_backward`."""
    if not isinstance(saved, MlpSaved):
        return _plain.swiglu_backward(saved, dy)
    dy = rows(dy)
    hidden, d_both = plain(dy @ saved.w_down.T, saved.both), np.empty_like(saved.both)
    tasks = Tasks(blocks(len(dy)), threads)
    run(mlp_backward_kernel, tasks, Both(saved.both), no_work, hidden, d_both)
    dx, dw_both = d_both @ saved.w_both.T, saved.x.T @ d_both
    dw_gate, dw_up = (half.copy() for half in np.hsplit(dw_both, 2))
    return dx.reshape(saved.shape), dw_gate, dw_up, hidden.T @ dy


@kernel
def mlp_kernel(span: Any, x: Any, work: Any, hidden: Any) -> None:
    """hidden = silu(gate) up for a span of blocks."""
    count, width = hidden.shape
    for i in range(span[0] * BLOCK, min(span[1] * BLOCK, count)):
        _gated(x.both[i, :width], x.both[i, width:], hidden[i])


@kernel
def mlp_backward_kernel(span: Any, x: Any, work: Any, hidden: Any, d_both: Any) -> None:
    """Gradients of both pre-activations; `hidden` holds its gradient, and then itself."""
    count, width = hidden.shape
    for i in range(span[0] * BLOCK, min(span[1] * BLOCK, count)):
        gates = x.both[i, :width], x.both[i, width:]
        _ungated(gates, hidden[i], d_both[i, :width], d_both[i, width:])


@apart
def _gated(gate: Any, up: Any, hidden: Any) -> None:
    """hidden = silu(gate) up."""
    for j in range(hidden.shape[0]):
        hidden[j] = gate[j] * sigmoid(gate[j]) * up[j]


@apart
def _ungated(gates: Any, hidden: Any, d_gate: Any, d_up: Any) -> None:
    """dgate = dh up silu'(gate); dup = dh silu(gate); then hidden = silu(gate) up."""
    gate, up = gates
    one = hidden.dtype.type(1)
    for j in range(hidden.shape[0]):
        opened = sigmoid(gate[j])
        active = gate[j] * opened
        d_gate[j] = hidden[j] * up[j] * (opened + active * (one - opened))
        d_up[j] = hidden[j] * active
        hidden[j] = active * up[j]
