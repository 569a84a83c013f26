"""`head_loss`: logits by the library's product, then one kernel for the loss, one for its gradient.

Logits of a block of tokens exist at a time; where one block holds them all they are kept.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.cupy_gpu.device import Device
from mcore.backends.cupy_gpu.strides import real_of, variant
from mcore.layers.embedding import check_range
from mcore.layers.linear import rows
from mcore.layers.loss import Loss
from mcore.layers.product import in_dtype, product

BLOCK = 1 << 27
"""Logits that exist at a time: half a gibibyte of float32."""


class Scores(NamedTuple):
    """Logits (n, vocab), and the largest and the sum of exponentials of each row."""

    logits: Array
    shift: Array
    total: Array


class Saved(NamedTuple):
    """What `head_loss` keeps: the labelled tokens, and their scores if these are few.

    Attributes:
        shape: of hidden.
        where: (M,) places of the labelled tokens; None if all are.
        hidden, weight: (M, D), (D, vocab), the weight as it is multiplied.
        labels: (M,) int32.
        scores: None where they are computed once more.
    """

    shape: tuple[int, ...]
    where: Array | None
    hidden: Array
    weight: Array
    labels: Array
    scores: Scores | None


def head_loss(hidden: Array, weight: Array, labels: Array, *, device: Device) -> tuple[Loss, Saved]:
    """See `mcore.layers.loss.head_loss`."""
    flat = labels.reshape(-1)
    where = np.flatnonzero(flat != -1)
    check_range("head_loss: label", flat[where], weight.shape[1])
    places, wanted = device.upload(np.stack([where, flat[where]]).astype(np.int32))
    labelled = rows(hidden) if len(where) == len(flat) else _picked(rows(hidden), places)
    place = None if len(where) == len(flat) else places
    used = in_dtype(weight, hidden.dtype.name)
    saved = Saved(hidden.shape, place, labelled, used, wanted, None)
    if not len(where):
        return Loss(0.0, 0, 0), saved
    parts = [_score(device, saved, block) for block in _blocks(saved)]
    if len(parts) == 1:
        saved = saved._replace(scores=parts[0][0])
    losses = _joined(device, [losses for _, losses, _ in parts])
    hits = _joined(device, [hits for _, _, hits in parts])
    value = losses.sum(dtype="float64") / len(where)
    return Loss(value, len(where), hits.sum()), saved


def head_loss_backward(
    saved: Saved, d_value: float = 1.0, *, device: Device
) -> tuple[Array, Array]:
    """See `mcore.layers.loss.head_loss_backward`."""
    xp, count = device.xp, len(saved.hidden)
    d_labelled = xp.empty_like(saved.hidden)
    d_weight: Array | None = None
    for block in _blocks(saved):
        d_logits = _gradient(device, saved, block, d_value / count)
        d_labelled[block] = product(d_logits, saved.weight.T, d_logits.dtype.name)
        part = _product(saved.hidden[block], d_logits, saved.weight)
        d_weight = part if d_weight is None else d_weight + part
    if d_weight is None:
        d_weight = xp.zeros_like(in_dtype(saved.weight, real_of(saved.weight)))
    if saved.where is None:
        return d_labelled.reshape(saved.shape), d_weight
    d_hidden = xp.zeros(saved.shape, saved.hidden.dtype)
    _bits(rows(d_hidden))[saved.where] = _bits(d_labelled)
    return d_hidden, d_weight


def _picked(x: Array, places: Array) -> Array:
    """Some rows."""
    picked: Array = _bits(x)[places].view(x.dtype)
    return picked


def _bits(x: Array) -> Array:
    """Numbers of 16 bits as integers, which the library picks and puts; others as they are."""
    return x.view("uint16") if x.itemsize == 2 else x


def _product(hidden: Array, d_logits: Array, weight: Array) -> Array:
    """hidden^T d_logits, in the memory order of the weight."""
    real = real_of(hidden)
    if weight.flags.c_contiguous:
        return product(hidden.T, d_logits, real)
    return product(d_logits.T, hidden, real).T


def _score(device: Device, saved: Saved, block: slice) -> tuple[Scores, Array, Array]:
    """A block's scores, losses and hits."""
    xp, hidden, labels = device.xp, saved.hidden[block], saved.labels[block]
    real = real_of(hidden)
    logits = xp.ascontiguousarray(product(hidden, saved.weight, real))
    losses, shift, total = (xp.empty(len(labels), real) for _ in range(3))
    hits = xp.empty(len(labels), "int32")
    kernel = device.kernel(variant("cross_entropy", hidden), "cross_entropy")
    given = (logits, labels, losses, hits, shift, total, logits.shape[1])
    kernel((len(labels),), (256,), given, 16 * 8)
    return Scores(logits, shift, total), losses, hits


def _gradient(device: Device, saved: Saved, block: slice, factor: float) -> Array:
    """That of a block's logits."""
    labels = saved.labels[block]
    scores = saved.scores or _score(device, saved, block)[0]
    d_logits: Array = device.xp.empty(scores.logits.shape, saved.hidden.dtype)
    kernel = device.kernel(variant("cross_entropy", d_logits), "cross_entropy_backward")
    given = (scores.logits, labels, scores.shift, scores.total, d_logits)
    kernel((len(labels),), (256,), (*given, d_logits.shape[1], factor), 0)
    return d_logits


def _blocks(saved: Saved) -> Iterator[slice]:
    """Slices of the labelled tokens, each of at most BLOCK logits."""
    step = max(BLOCK // saved.weight.shape[1], 1)
    return (slice(at, at + step) for at in range(0, len(saved.hidden), step))


def _joined(device: Device, parts: list[Array]) -> Array:
    return parts[0] if len(parts) == 1 else device.xp.concatenate(parts)
