"""Matrix LSTM in fast kernels: a decayed memory whose gates come from the running maximum.

decay forget_t, keys e^write_t k / sqrt(K), values (v, 1): the scan of a decayed memory;
its answers (C^T q, n . q) are divided by max(|n . q|, e^-m) + eps
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.numba_cpu import scan as _scan
from mcore.backends.numba_cpu.blocks import plain
from mcore.backends.numba_cpu.borders import at_ends, from_ends, restarts
from mcore.backends.numba_cpu.mlstm_kernels import (
    GateInputs,
    gates_backward_kernel,
    gates_kernel,
    no_work,
)
from mcore.backends.numba_cpu.normalizer import extend
from mcore.backends.numba_cpu.read import UNDIVIDED
from mcore.backends.numba_cpu.threads import Tasks, run
from mcore.recurrence import Inputs
from mcore.recurrence.mlstm import divide, divide_backward, joined, parts
from mcore.segments import Segments


class UndividedSaved(NamedTuple):
    """What the scan without the division keeps; carried: whether a state came in."""

    gates: GateInputs
    largest: Array
    write: Array
    k: Array
    scan: Any
    segments: Segments
    carried: bool
    threads: int


class Undivided(NamedTuple):
    """Answers (B, T, H, V + 1), m (B, T, H), checkpoints (B, S, H, P)."""

    answers: Array
    largest: Array
    checkpoints: Array


def scan(inputs: Inputs, carry: Array | None, segments: Segments, threads: int) -> tuple[Scan, Any]:
    """See `mcore.backend.Backend.scan`."""
    found, saved = undivided(inputs, carry, segments, threads)
    y = divide(found.answers, found.largest)
    return Scan(y, found.checkpoints), (found.answers, found.largest, saved)


def scan_backward(
    saved: Any, d_reads: Array, d_checkpoints: Array, threads: int
) -> tuple[dict[str, Array], Array | None]:
    """See `mcore.backend.Backend.scan_backward`."""
    answers, largest, kept = saved
    d_answers, d_largest = divide_backward(answers, largest, d_reads)
    return undivided_backward(kept, d_answers, d_largest, d_checkpoints)


def undivided(
    inputs: Inputs, carry: Array | None, segments: Segments, threads: int
) -> tuple[Undivided, UndividedSaved]:
    """The scan before its division, and m of every token."""
    k = inputs["k"]
    (rows, tokens, heads), keys = k.shape[:3], k.shape[-1]
    body, m = None, np.zeros((rows, heads), k.dtype)
    if carry is not None:
        body, m = parts(_scan.unflattened(carry, keys + 1))
        body = body.reshape(rows, heads, -1)
    gates = GateInputs(
        plain(inputs["igate"], k), plain(inputs["fgate"], k), plain(m, k), restarts(segments)
    )
    forget, write, largest = (np.empty((rows, tokens, heads), k.dtype) for _ in range(3))
    run(gates_kernel, Tasks(rows * heads, threads), gates, no_work, forget, write, largest)
    write = np.exp(write, out=write) * k.dtype.type(keys**-0.5)
    decayed = {
        "q": inputs["q"], "k": write[..., None] * k, "v": extend(inputs["v"]), "log_decay": forget,
    }  # fmt: skip
    found, kept = _scan.scan(UNDIVIDED, decayed, body, segments, threads)
    bodies = found.checkpoints.reshape(*found.checkpoints.shape[:3], keys, -1)
    checkpoints = joined(bodies, at_ends(largest, segments))
    flat = checkpoints.reshape(*bodies.shape[:3], -1)
    saved = UndividedSaved(gates, largest, write, k, kept, segments, carry is not None, threads)
    return Undivided(found.reads, largest, flat), saved


def undivided_backward(
    saved: UndividedSaved, d_answers: Array, d_largest: Array, d_checkpoints: Array
) -> tuple[dict[str, Array], Array | None]:
    """Gradients of `undivided`."""
    keys = saved.k.shape[-1]
    d_bodies, d_ends = parts(_scan.unflattened(d_checkpoints, keys + 1))
    flat = d_bodies.reshape(*d_bodies.shape[:3], -1)
    d_inputs, d_body = _scan.scan_backward(saved.scan, d_answers, flat, saved.threads)
    d_write = saved.write * np.einsum("bthk,bthk->bth", d_inputs["k"], saved.k)
    given = (
        d_inputs["log_decay"],
        d_write,
        plain(d_largest + from_ends(d_ends, saved.segments), d_write),
    )
    out = tuple(np.empty_like(array) for array in saved.gates[:3])
    tasks = Tasks(saved.k.shape[0] * saved.k.shape[2], saved.threads)
    run(gates_backward_kernel, tasks, saved.gates, no_work, saved.largest, given, out)
    gradients = {
        "q": d_inputs["q"],
        "k": saved.write[..., None] * d_inputs["k"],
        "v": d_inputs["v"][..., :-1],
        "igate": out[0],
        "fgate": out[1],
    }
    if d_body is None or not saved.carried:
        return gradients, None
    d_carry = joined(d_body.reshape(*d_body.shape[:2], keys, -1), out[2])
    return gradients, d_carry.reshape(*d_carry.shape[:2], -1)
