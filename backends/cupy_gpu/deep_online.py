"""The scan of deep memories with what a soup adds to it, around one pair of kernels or another.

A soup has a gate for the online memory, and brings what the cached memories say to the queries,
inside the perceptron. `deep_scan` goes token after token, `deep_chunks` chunk after chunk.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu.cuts import cuts_on
from mcore.backends.cupy_gpu.deep_forms import (
    Form,
    Launch,
    Mixture,
    Online,
    OnlineGradients,
    OnlineSaved,
    real,
)
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.replay import shared_out
from mcore.backends.cupy_gpu.sources import Variant
from mcore.recurrence import Inputs
from mcore.recurrence.mlp_memory import MlpMemory
from mcore.segments import Segments

THREADS = 256

LOSSES = {"dla": 0, "titans": 1, "memora": 1, "yaad": 2, "moneta": 3}
"""What `cuda/deep_error.cuh` calls the inner losses."""

TOKENS = ("q", "k", "v")
GATES = ("step", "log_decay", "momentum", "delta")


def online(
    device: Device,
    form: Form,
    call: tuple[MlpMemory, Inputs, Array | None, Segments],
    mixture: Mixture | None,
) -> tuple[Online, OnlineSaved]:
    """The scan; with a mixture reads are q + g Z, and hidden the hidden vectors of the queries."""
    xp, (rule, inputs, carry, segments) = device.xp, call
    plain = {name: xp.ascontiguousarray(x) for name, x in inputs.items() if name in rule.inputs}
    dims = rule.dims(plain)
    size, states = int(np.prod(rule.state_shape(dims))), real(plain["q"])
    checkpoints = xp.empty((dims.B, segments.count, dims.H, size), states)
    saved = OnlineSaved(rule, plain, carry, segments, mixture, checkpoints)
    reads = xp.empty_like(plain["q"])
    hidden = None if mixture is None else xp.empty((dims.B, dims.T, dims.H, dims.E), states)
    common, tasks = _common(device, saved)
    launch = form.forward(saved)
    kernel = device.kernel(_variant(saved, launch), launch.family)
    values = [*common, *launch.options, reads, checkpoints, hidden]
    kernel((tasks,), (THREADS,), values, launch.shared)
    return Online(Scan(reads, checkpoints), hidden), saved


def online_backward(
    device: Device,
    form: Form,
    saved: OnlineSaved,
    d_reads: Array,
    d_ends: tuple[Array | None, Array | None],
) -> OnlineGradients:
    """Gradient of `online`; `d_ends`: of checkpoints and hidden vectors, None if they are zero."""
    xp, checkpoints = device.xp, saved.checkpoints
    common, tasks = _common(device, saved)
    launch, size = form.backward(saved), checkpoints.shape[-1]
    plan, blocks = shared_out(launch.steps, tasks, size * checkpoints.itemsize, launch.more)
    places = plan.places + launch.more
    scratch = xp.empty((blocks, places, size), checkpoints.dtype)
    given = [None if x is None else xp.ascontiguousarray(x) for x in d_ends]
    d_inputs = {name: empty(xp, saved.inputs[name]) for name in _names(saved)}
    d_mixture = _like(xp, saved.mixture)
    d_start = empty(xp, checkpoints)
    d_carry = None if saved.carry is None else empty(xp, saved.carry)
    values = [
        *common, *launch.options, checkpoints, xp.ascontiguousarray(d_reads), *given, scratch,
        places, launch.more, *plan[1:], *(d_inputs.get(name) for name in (*TOKENS, *GATES)),
        *(d_mixture or (None, None)), d_start, d_carry,
    ]  # fmt: skip
    kernel = device.kernel(_variant(saved, launch), launch.family)
    kernel((blocks,), (THREADS,), values, launch.shared)
    d_inputs |= _initial_backward(saved.rule, saved.inputs, d_start)
    return OnlineGradients(d_inputs, d_carry, d_mixture)


def empty(xp: Any, like: Array) -> Array:
    """Room for a contiguous array of the same shape and dtype."""
    room: Array = xp.empty(like.shape, like.dtype)
    return room


def _initial_backward(rule: MlpMemory, inputs: Inputs, d_start: Array) -> dict[str, Array]:
    """Gradients of w_in and w_out from those of each segment's start (B, S, H, P)."""
    rows = 2 * rule.copies * inputs["w_in"].shape[1]
    total = d_start.sum(axis=(0, 1)).reshape(1, d_start.shape[2], rows, -1)
    return rule.initial_backward(inputs, total)


def _common(device: Device, saved: OnlineSaved) -> tuple[list[Any], int]:
    """The arguments that all kernels begin with, and the number of tasks."""
    xp, rule, inputs, mixture = device.xp, saved.rule, saved.inputs, saved.mixture
    dims, size = rule.dims(inputs), saved.checkpoints.shape[-1]
    cuts = cuts_on(device, saved.segments)
    start = xp.ascontiguousarray(rule.initial(inputs, dims))
    carry = None if saved.carry is None else xp.ascontiguousarray(saved.carry)
    arrays = [inputs.get(name) for name in (*TOKENS, *GATES)]
    mixed = [None, None] if mixture is None else list(mixture)
    count = saved.segments.count
    sizes = (dims.B, dims.T, dims.H, count, dims.K, dims.E, size, LOSSES[rule.kind])
    borders = (cuts.bounds, cuts.restart, cuts.offset)
    return [*arrays, *mixed, start, carry, *borders, *sizes], dims.B * dims.H * count


def _variant(saved: OnlineSaved, launch: Launch) -> Variant:
    token = saved.inputs["q"].dtype.name
    return Variant(launch.family, saved.checkpoints.dtype.name, token, launch.sizes)


def _names(saved: OnlineSaved) -> Sequence[str]:
    return [name for name in (*TOKENS, *GATES) if name in saved.inputs]


def _like(xp: Any, mixture: Mixture | None) -> Mixture | None:
    """Room for a mixture's gradient."""
    if mixture is None:
        return None
    extra = None if mixture.extra is None else empty(xp, mixture.extra)
    return Mixture(empty(xp, mixture.gates), extra)
