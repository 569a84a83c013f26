"""`scan` of mirror descent (Moneta, Memora) in fast kernels, row by head in parallel.

In the form of `deep.online` and `deep.online_backward`, around which `deep_soup` builds scan and
soup.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.deep import Mixture, Online, OnlineGradients
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs
from mcore.recurrence.mirror import MirrorMemory
from mcore.segments import Segments

TOKENS = ("q", "k", "v", "step", "log_decay")


class MirrorSaved(NamedTuple):
    """What `online` keeps: the rule, its parameters, inputs, checkpoints (B, S, H, 4 K, E)."""

    rule: MirrorMemory
    parameters: Inputs
    x: Any
    checkpoints: Array


def online(
    rule: MirrorMemory,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    mixture: Mixture | None,
    threads: int,
) -> tuple[Online, MirrorSaved]:
    """The scan; with a mixture what the online memory adds to the soup. See `deep.online`."""
    from mcore.backends.numba_cpu.mirror_kernels import mirror_kernel
    from mcore.backends.numba_cpu.mirror_work import forward_work

    x = _arrays(rule, inputs, carry, segments, mixture)
    rows, tokens, heads, _ = x.q.shape
    width = 0 if mixture is None else x.start.shape[2]
    reads, hidden = np.empty_like(x.q), np.empty((rows, tokens, heads, width), x.q.dtype)
    checkpoints = np.zeros((rows, segments.count, *x.start.shape), x.q.dtype)
    out = reads, hidden, checkpoints
    run(mirror_kernel, Tasks(rows * heads, threads), x, forward_work, out)
    parameters = {name: inputs[name] for name in ("w_in", "w_out")}
    scan = Scan(reads, checkpoints.reshape(*checkpoints.shape[:3], -1))
    saved = MirrorSaved(rule, parameters, x, checkpoints)
    return Online(scan, None if mixture is None else hidden), saved


def online_backward(
    saved: MirrorSaved,
    d_reads: Array,
    d_checkpoints: Array | None,
    d_hidden: Array | None,
    threads: int,
) -> OnlineGradients:
    """Gradient of `online`; None for a gradient that is zero."""
    from mcore.backends.numba_cpu.mirror_backward_kernels import mirror_backward_kernel
    from mcore.backends.numba_cpu.mirror_work import backward_work

    x = saved.x
    rows, _, heads, _ = x.q.shape
    out = tuple(np.empty_like(array) for array in x[:7])
    d_states = np.zeros((rows, *x.start.shape), x.q.dtype), np.empty_like(x.carry)
    d_ends = np.empty((0,) * 5, x.q.dtype)
    if d_checkpoints is not None:
        d_ends = plain(d_checkpoints, x.q).reshape(saved.checkpoints.shape)
    asked = np.empty((0,) * 4, x.q.dtype) if d_hidden is None else plain(d_hidden, x.q)
    given = plain(d_reads, x.q), asked, d_ends, saved.checkpoints
    tasks = Tasks(rows * heads, threads)
    run(mirror_backward_kernel, tasks, x, backward_work, given, (*out, *d_states))
    d_inputs = dict(zip(TOKENS, out[:5], strict=True))
    d_inputs |= saved.rule.initial_backward(saved.parameters, d_states[0])
    d_carry = d_states[1].reshape(rows, heads, -1) if x.carry.size else None
    mixture = Mixture(out[5], out[6] if x.extra.size else None) if x.gate.size else None
    return OnlineGradients(d_inputs, d_carry, mixture)


def _arrays(
    rule: MirrorMemory,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    mixture: Mixture | None,
) -> Any:
    """What the kernels work on."""
    from mcore.backends.numba_cpu.mirror_work import MirrorInputs

    q, dims = plain(inputs["q"]), rule.dims(inputs)
    start = plain(rule.initial(inputs, dims), q).reshape(dims.H, *rule.state_shape(dims))
    came = np.empty((0,) * 4, q.dtype)
    if carry is not None:
        came = plain(carry, q).reshape(dims.B, *start.shape)
    gate, extra = (None, None) if mixture is None else mixture
    tokens: list[Any] = [plain(inputs[name], q) for name in TOKENS]
    tokens.append(np.empty((0,) * 3, q.dtype) if gate is None else plain(gate, q))
    tokens.append(np.empty((0,) * 4, q.dtype) if extra is None else plain(extra, q))
    tokens += [start, came, plain(segments.bounds), plain(segments.restart)]
    tokens.append(rule.kind == "moneta")
    return MirrorInputs(*tokens)
