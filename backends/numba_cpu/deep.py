"""`scan` of perceptrons that descend (dla, titans, yaad) in fast kernels, row by head in parallel.

`online` is the scan with what a soup adds: a gate for the online memory, and what the cached
memories say to the queries, inside the perceptron.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs
from mcore.recurrence.chunked import ChunkedMemory
from mcore.segments import Segments

LOSSES = {"dla": 0, "titans": 1, "yaad": 2}
"""What `deep_error` calls the inner losses."""


class Mixture(NamedTuple):
    """What a soup brings to the online memory: gates (B, T, H); extra (B, T, H, E) or None."""

    gates: Array
    extra: Array | None


class Online(NamedTuple):
    """What `online` returns: reads, checkpoints, and the hidden vectors (B, T, H, E), if mixed."""

    scan: Scan
    hidden: Array | None


class OnlineSaved(NamedTuple):
    """What `online` keeps: its inputs, checkpoints (B, S, H, rows, E), whether a state came in."""

    x: Any
    checkpoints: Array
    carried: bool


class OnlineGradients(NamedTuple):
    """Gradients with respect to inputs, carry and, if mixed, the mixture."""

    inputs: dict[str, Array]
    carry: Array | None
    mixture: Mixture | None


def online(
    rule: ChunkedMemory,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    mixture: Mixture | None,
    threads: int,
) -> tuple[Online, OnlineSaved]:
    """The scan; with a mixture reads are q + g Z and hidden is A_q of `deep_answers`."""
    from mcore.backends.numba_cpu.deep_kernels import forward_work, scan_kernel
    from mcore.backends.numba_cpu.deep_work import state_rows

    x = _arrays(rule, inputs, carry, segments, mixture)
    rows, tokens, heads, _ = x.q.shape
    width = x.start.shape[-1]
    reads = np.empty_like(x.q)
    checkpoints = np.empty((rows, segments.count, heads, state_rows(x), width), x.q.dtype)
    hidden = np.empty((0, 0, 0, 0) if mixture is None else (rows, tokens, heads, width), x.q.dtype)
    tasks = Tasks(rows * heads, threads)
    run(scan_kernel, tasks, x, forward_work, reads, checkpoints, hidden)
    scan = Scan(reads, checkpoints.reshape(*checkpoints.shape[:3], -1))
    saved = OnlineSaved(x, checkpoints, carry is not None)
    return Online(scan, None if mixture is None else hidden), saved


def online_backward(
    saved: OnlineSaved,
    d_reads: Array,
    d_checkpoints: Array | None,
    d_hidden: Array | None,
    threads: int,
) -> OnlineGradients:
    """Gradient of `online`; None for a gradient that is zero."""
    from mcore.backends.numba_cpu.deep_backward_kernels import backward_work, scan_backward_kernel
    from mcore.backends.numba_cpu.deep_work import DeepGradients

    x = saved.x
    rows, _, heads, _ = x.q.shape
    d_states = np.empty((0,) * 5, x.q.dtype)
    if d_checkpoints is not None:
        d_states = plain(d_checkpoints, x.q).reshape(saved.checkpoints.shape)
    asked = np.empty((0,) * 4, x.q.dtype) if d_hidden is None else plain(d_hidden, x.q)
    gradients = DeepGradients(*(np.empty_like(array) for array in x[:11]))
    gradients = gradients._replace(start=np.zeros((rows, *x.start.shape), x.q.dtype))
    given = (saved.checkpoints, plain(d_reads, x.q), d_states, asked)
    tasks = Tasks(rows * heads, threads)
    run(scan_backward_kernel, tasks, x, backward_work, given, gradients)
    return _collected(saved, gradients)


def _collected(saved: OnlineSaved, gradients: Any) -> OnlineGradients:
    """Under the inputs' names; w_in and w_out summed over the rows of the batch."""
    names = ("q", "k", "v", "step", "log_decay", "momentum", "delta")
    d_inputs = {name: getattr(gradients, name) for name in names if getattr(saved.x, name).size}
    d_start, keys = gradients.start.sum(axis=0), saved.x.q.shape[-1]
    d_inputs["w_in"] = d_start[:, :keys]
    d_inputs["w_out"] = d_start[:, keys:].swapaxes(1, 2)
    mixture, d_carry = None, None
    if saved.x.gates.size:
        extra = gradients.extra if saved.x.extra.size else None
        mixture = Mixture(gradients.gates, extra)
    if saved.carried:
        d_carry = gradients.carry.reshape(*gradients.carry.shape[:2], -1)
    return OnlineGradients(d_inputs, d_carry, mixture)


def _arrays(
    rule: ChunkedMemory,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    mixture: Mixture | None,
) -> Any:
    """What the kernels work on."""
    from mcore.backends.numba_cpu.deep_work import DeepInputs

    q = plain(inputs["q"])
    none = np.empty((0, 0, 0), q.dtype)
    k, v, step, log_decay = (plain(inputs[name], q) for name in ("k", "v", "step", "log_decay"))
    momentum, delta = (
        plain(inputs[name], q) if name in inputs else none for name in ("momentum", "delta")
    )
    gates = none if mixture is None else plain(mixture.gates, q)
    extra = none[..., None]
    if mixture is not None and mixture.extra is not None:
        extra = plain(mixture.extra, q)
    weights = [inputs["w_in"], inputs["w_out"].swapaxes(1, 2)]
    start = plain(np.concatenate(weights, axis=1), q)
    came = np.empty((0,) * 4, q.dtype)
    if carry is not None:
        came = plain(carry, q).reshape(*carry.shape[:2], -1, start.shape[-1])
    return DeepInputs(
        q, k, v, step, log_decay, momentum, delta, gates, extra, start, came,
        plain(segments.bounds), plain(segments.restart), plain(segments.offset),
        LOSSES[rule.kind], rule.chunk,
    )  # fmt: skip
