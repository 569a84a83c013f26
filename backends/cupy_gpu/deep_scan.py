"""`scan` of deep memories, token after token: each token's gradient is taken at the memory before.

`online` is the scan with what a soup adds to it: a gate for the online memory, and what the cached
memories say to the queries, inside the perceptron.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backend import Scan
from mcore.backends.cupy_gpu.cuts import cuts_on
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.replay import shared_out
from mcore.backends.cupy_gpu.sources import Variant
from mcore.recurrence import Inputs
from mcore.recurrence.mlp_memory import MlpMemory
from mcore.segments import Segments

THREADS = 256

SHARED = 160 << 10
"""Bytes of shared memory that a block may have on every GPU since sm_80."""

LOSSES = {"dla": 0, "titans": 1, "memora": 1, "yaad": 2, "moneta": 3}
"""What `cuda/deep_error.cuh` calls the inner losses."""

IMAGES = {"moneta": 1, "memora": 2}
"""What `cuda/deep_image.cuh` calls the images; 0 for rules without one."""

TOKENS = ("q", "k", "v")
GATES = ("step", "log_decay", "momentum", "delta")


class Mixture(NamedTuple):
    """What a soup brings to the online memory: gates (B, T, H); extra (B, T, H, E) or None."""

    gates: Array
    extra: Array | None


class Online(NamedTuple):
    """What `online` returns: reads, checkpoints, and the hidden vectors (B, T, H, E), if mixed."""

    scan: Scan
    hidden: Array | None


class OnlineSaved(NamedTuple):
    """What `online` keeps.

    Attributes:
        rule, inputs, carry, segments: of the call; the arrays of `inputs` contiguous.
        mixture: of a soup, or None.
        checkpoints: (B, S, H, P).
    """

    rule: MlpMemory
    inputs: Inputs
    carry: Array | None
    segments: Segments
    mixture: Mixture | None
    checkpoints: Array


class OnlineGradients(NamedTuple):
    """Gradients with respect to inputs, carry and, if mixed, the mixture."""

    inputs: dict[str, Array]
    carry: Array | None
    mixture: Mixture | None


def online(
    device: Device,
    rule: MlpMemory,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    mixture: Mixture | None,
) -> tuple[Online, OnlineSaved]:
    """The scan; with a mixture reads are q + g Z, and hidden is what the perceptron is asked with."""
    xp = device.xp
    plain = {name: xp.ascontiguousarray(x) for name, x in inputs.items() if name in rule.inputs}
    dims = rule.dims(plain)
    size, states = int(np.prod(rule.state_shape(dims))), real(plain["q"])
    checkpoints = xp.empty((dims.B, segments.count, dims.H, size), states)
    saved = OnlineSaved(rule, plain, carry, segments, mixture, checkpoints)
    reads = xp.empty_like(plain["q"])
    hidden = None if mixture is None else xp.empty((dims.B, dims.T, dims.H, dims.E), states)
    common, tasks = _common(device, saved)
    held, shared = _held(saved, 6, 3)
    kernel = device.kernel(_variant(saved, "deep_scan"), "deep_scan")
    kernel((tasks,), (THREADS,), [*common, held, reads, checkpoints, hidden], shared)
    return Online(Scan(reads, checkpoints), hidden), saved


def online_backward(
    device: Device,
    saved: OnlineSaved,
    d_reads: Array,
    d_checkpoints: Array | None,
    d_hidden: Array | None,
) -> OnlineGradients:
    """Gradient of `online`; None for a gradient that is zero."""
    xp, rule, mixture = device.xp, saved.rule, saved.mixture
    checkpoints = saved.checkpoints
    common, tasks = _common(device, saved)
    held, shared = _held(saved, 10, 8)
    steps = int(np.diff(saved.segments.bounds, axis=1).max())
    size = checkpoints.shape[-1]
    plan, blocks = shared_out(steps, tasks, size * checkpoints.itemsize, 1)
    scratch = xp.empty((blocks, plan.places + 1, size), checkpoints.dtype)
    given = [None if x is None else xp.ascontiguousarray(x) for x in (d_checkpoints, d_hidden)]
    d_inputs = {name: xp.empty_like(saved.inputs[name]) for name in _names(saved)}
    d_mixture, d_carry = _like(xp, mixture), None if saved.carry is None else empty(xp, saved.carry)
    d_start = xp.empty_like(checkpoints)
    out = [d_inputs.get(name) for name in (*TOKENS, *GATES)]
    values = [
        *common, held, checkpoints, xp.ascontiguousarray(d_reads), *given, scratch,
        plan.places + 1, *plan[1:], *out, *d_mixture, d_start, d_carry,
    ]  # fmt: skip
    kernel = device.kernel(_variant(saved, "deep_scan_backward"), "deep_scan_backward")
    kernel((blocks,), (THREADS,), values, shared)
    return OnlineGradients(
        d_inputs | initial_backward(rule, saved.inputs, d_start),
        d_carry,
        None if mixture is None else d_mixture,
    )


def initial_backward(rule: MlpMemory, inputs: Inputs, d_start: Array) -> dict[str, Array]:
    """Gradients of w_in and w_out from those of each segment's start (B, S, H, P)."""
    rows = 2 * rule.copies * inputs["w_in"].shape[1]
    total = d_start.sum(axis=(0, 1)).reshape(1, d_start.shape[2], rows, -1)
    return rule.initial_backward(inputs, total)


def empty(xp: Any, like: Array) -> Array:
    """Room for a contiguous array of the same shape and dtype."""
    room: Array = xp.empty(like.shape, like.dtype)
    return room


def real(x: Array) -> str:
    """The dtype of states and sums for arrays over tokens of x's dtype."""
    return "float64" if x.dtype.name == "float64" else "float32"


def _common(device: Device, saved: OnlineSaved) -> tuple[list[Any], int]:
    """The arguments that both kernels begin with, and the number of tasks."""
    xp, rule, inputs, mixture = device.xp, saved.rule, saved.inputs, saved.mixture
    dims, size = rule.dims(inputs), saved.checkpoints.shape[-1]
    cuts = cuts_on(device, saved.segments)
    start = xp.ascontiguousarray(rule.initial(inputs, dims))
    carry = None if saved.carry is None else xp.ascontiguousarray(saved.carry)
    arrays = [inputs.get(name) for name in (*TOKENS, *GATES)]
    mixed = [None, None] if mixture is None else list(mixture)
    kinds = (LOSSES[rule.kind], IMAGES.get(rule.kind, 0))
    count = saved.segments.count
    sizes = (dims.B, dims.T, dims.H, count, dims.K, dims.E, size, *kinds)
    borders = (cuts.bounds, cuts.restart, cuts.offset)
    return [*arrays, *mixed, start, carry, *borders, *sizes], dims.B * dims.H * count


def _held(saved: OnlineSaved, narrow: int, wide: int) -> tuple[int, int]:
    """How many numbers of a state lie in shared memory, and the bytes of it all.

    Args:
        saved: the call.
        narrow, wide: vectors of length K and of length E that lie there besides.
    """
    keys, width = saved.inputs["w_in"].shape[1:]
    item, size = saved.checkpoints.itemsize, saved.checkpoints.shape[-1]
    lengths = (*[keys] * narrow, *[width] * wide, 32)
    vectors = sum(-(-length * item // 16) * 16 for length in lengths)
    for held in (size, 2 * keys * width, 0):
        shared = vectors + -(-held * item // 16) * 16
        if shared <= SHARED:
            break
    return held, shared


def _variant(saved: OnlineSaved, family: str) -> Variant:
    token = saved.inputs["q"].dtype.name
    return Variant(family, saved.checkpoints.dtype.name, token)


def _names(saved: OnlineSaved) -> Sequence[str]:
    return [name for name in (*TOKENS, *GATES) if name in saved.inputs]


def _like(xp: Any, mixture: Mixture | None) -> Mixture:
    """Room for a mixture's gradient; None for what there is none of."""
    if mixture is None:
        return Mixture(None, None)  # type: ignore[arg-type]
    extra = None if mixture.extra is None else empty(xp, mixture.extra)
    return Mixture(empty(xp, mixture.gates), extra)
