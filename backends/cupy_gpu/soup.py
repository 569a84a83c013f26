"""`soup` of normalised linear memories on the device.

Numerator and normaliser are linear in the state, so mixing memories is mixing these answers:

    y_t = (sum_i g_i S_i^T q) / (sum_i g_i z_i . q + eps),   the online memory among the i

The other matrix memories are read linearly as they are: for them soup is the gated read.
"""

from functools import partial
from typing import Any, NamedTuple

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.pairs import Pair
from mcore.backends.cupy_gpu.read import read, read_backward
from mcore.recurrence import Inputs, Recurrence
from mcore.recurrence.linear import EPS, Linear
from mcore.segments import Segments

UNDIVIDED = Linear()
"""The rule whose answers are `S^T q`."""


class SoupSaved(NamedTuple):
    """What `soup` keeps: both operations' own, the online answers, their mixture, and the gates."""

    scan: Any
    read: Any
    online: Array
    answers: Array
    ends: tuple[int, ...]
    checkpoints: Array
    gates: Array


def normalized_soup(scan: Pair) -> Pair:
    """The pair for normalised linear memories, given the scan of linear ones."""
    return Pair(partial(soup, scan), partial(soup_backward, scan))


def soup(
    scan: Pair,
    device: Device,
    rule: Recurrence,
    inputs: Inputs,
    carry: Array | None,
    segments: Segments,
    cached: tuple[Array, Array],
) -> tuple[Array, SoupSaved]:
    """See `mcore.backend.Backend.soup`."""
    checkpoints, gates = cached
    whole = {**inputs, "v": _extended(device, inputs["v"])}
    found, scan_saved = scan.forward(device, UNDIVIDED, whole, carry, segments)
    answers, read_saved = gates[..., -1:] * found.reads, None
    if checkpoints.shape[1]:
        weights = gates[..., :-1]
        seen, read_saved = read(device, UNDIVIDED, inputs["q"], checkpoints, weights, segments)
        answers = answers + seen
    ends = found.checkpoints.shape
    saved = SoupSaved(scan_saved, read_saved, found.reads, answers, ends, checkpoints, gates)
    y: Array = answers[..., :-1] / (answers[..., -1:] + EPS)
    return y, saved


def soup_backward(
    scan: Pair, device: Device, saved: SoupSaved, dy: Array
) -> tuple[dict[str, Array], Array | None, Array, Array]:
    """See `mcore.backend.Backend.soup_backward`."""
    xp, gates = device.xp, saved.gates
    d_answers = _divided_backward(device, saved.answers, dy)
    d_gates, d_checkpoints = xp.zeros_like(gates), xp.zeros_like(saved.checkpoints)
    d_gates[..., -1] = (d_answers * saved.online).sum(axis=-1)
    d_ends = xp.zeros(saved.ends, saved.checkpoints.dtype)
    d_inputs, d_carry = scan.backward(device, saved.scan, gates[..., -1:] * d_answers, d_ends)
    d_inputs = {**d_inputs, "v": d_inputs["v"][..., :-1]}
    if saved.read is not None:
        dq, d_checkpoints, d_gates[..., :-1] = read_backward(device, saved.read, d_answers)
        d_inputs["q"] = d_inputs["q"] + dq
    return d_inputs, d_carry, d_checkpoints, d_gates


def _extended(device: Device, v: Array) -> Array:
    """Values with a column of ones, whose answer is the denominator."""
    whole: Array = device.xp.ones((*v.shape[:-1], v.shape[-1] + 1), v.dtype)
    whole[..., :-1] = v
    return whole


def _divided_backward(device: Device, answers: Array, dy: Array) -> Array:
    """Gradient of `numerator / (denominator + eps)`."""
    scale = answers[..., -1:] + EPS
    d_answers: Array = device.xp.empty_like(answers)
    d_numerator = dy / scale
    d_answers[..., :-1] = d_numerator
    d_answers[..., -1] = -(d_numerator * answers[..., :-1] / scale).sum(axis=-1)
    return d_answers
