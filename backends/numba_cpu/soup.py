"""`soup` of normalised linear memories in fast kernels.

Numerator and normaliser are linear in the state, so mixing memories is mixing these answers:

    y_t = (sum_i g_i S_i^T q) / (sum_i g_i z_i . q + eps),   the online memory among the i

The other matrix memories are read linearly as they are: for them soup is the gated read.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu import read as _read
from mcore.backends.numba_cpu import scan as _scan
from mcore.backends.numba_cpu.normalizer import divide, divide_backward, extend
from mcore.backends.numba_cpu.read import UNDIVIDED
from mcore.recurrence import Inputs
from mcore.segments import Segments


class SoupSaved(NamedTuple):
    """What `soup` keeps: both operations' own, their answers, and the gates."""

    scan: Any
    read: Any
    online: Array
    answers: Array
    checkpoints: Array
    gates: Array


def soup(
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    cached: tuple[Array, Array],
    threads: int,
) -> tuple[Array, SoupSaved]:
    """See `mcore.backend.Backend.soup`."""
    checkpoints, gates = cached
    whole = {**inputs, "v": extend(inputs["v"])}
    scan, scan_saved = _scan.scan(UNDIVIDED, whole, carry, segments, threads)
    answers, read_saved = gates[..., -1:] * scan.reads, None
    if checkpoints.shape[1]:
        q, weights = inputs["q"], gates[..., :-1]
        seen, read_saved = _read.read(UNDIVIDED, q, checkpoints, weights, segments, threads)
        answers = answers + seen
    saved = SoupSaved(scan_saved, read_saved, scan.reads, answers, checkpoints, gates)
    return divide(answers), saved


def soup_backward(
    saved: SoupSaved, dy: Array, threads: int
) -> tuple[dict[str, Array], Array | None, Array, Array]:
    """See `mcore.backend.Backend.soup_backward`."""
    d_answers = divide_backward(saved.answers, dy)
    d_gates, d_checkpoints = np.zeros_like(saved.gates), np.zeros_like(saved.checkpoints)
    d_gates[..., -1] = np.einsum("bthv,bthv->bth", d_answers, saved.online)
    d_ends = np.zeros_like(saved.scan.checkpoints)
    d_ends = d_ends.reshape(*d_ends.shape[:3], -1)
    d_online = saved.gates[..., -1:] * d_answers
    d_inputs, d_carry = _scan.scan_backward(saved.scan, d_online, d_ends, threads)
    d_inputs["v"] = d_inputs["v"][..., :-1]
    if saved.read is not None:
        dq, d_checkpoints, d_weights = _read.read_backward(saved.read, d_answers, threads)
        d_inputs["q"] = d_inputs["q"] + dq
        d_gates[..., :-1] = d_weights
    return d_inputs, d_carry, d_checkpoints, d_gates
