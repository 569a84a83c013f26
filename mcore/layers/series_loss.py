"""What outputs of a series model cost: real values and classes, each where there is a label."""

from typing import Literal

import numpy as np

from mcore.arrays import Array, namespace
from mcore.layers.embedding import check_range
from mcore.layers.loss import Loss
from mcore.placing import sent

ValueCost = Literal["mse", "mae", "huber"]

Saved = tuple[Array, int]
"""The gradient of the summed cost, and how many labels there are."""


def value_loss(outputs: Array, labels: Array, cost: ValueCost) -> tuple[Loss, Saved]:
    """Mean cost of the errors e = output - label, over the labels that are not NaN.

        mse: e^2        mae: |e|        huber: e^2 / 2 where |e| <= 1, else |e| - 1/2

    `Loss.correct` is 0: a real value is never right. Without any label the value is 0. Infinities
    and NaN in the outputs reach the value, without a warning.

    Shapes: outputs and labels (B, T, O); labels lie on the host.
    """
    scored, xp = ~np.isnan(labels), namespace(outputs)
    count = int(scored.sum())
    wanted, there = (sent(outputs, x) for x in (np.where(scored, labels, 0), scored))
    with np.errstate(invalid="ignore", over="ignore"):
        error = xp.where(there, outputs - wanted, 0).astype(outputs.dtype)
        costs, slopes = _costs(error, cost)
        value = costs.sum(dtype="float64") / max(count, 1)
    return Loss(float(value) if xp is np else value, count, 0), (slopes, count)


def class_loss(logits: Array, labels: Array) -> tuple[Loss, Saved]:
    """Mean cross-entropy in nats over the labels that are not -1.

        value = mean over labelled tokens of log(sum_c exp(z_c)) - z_label

    Without any label the value is 0. Infinities and NaN in the logits reach the value, without a
    warning.

    Shapes: logits (B, T, O), labels (B, T) of integers, on the host.

    Raises:
        DataError: a label is neither -1 nor a class.
    """
    places, xp = np.nonzero(labels != -1), namespace(logits)
    check_range("class_loss: label", labels[places], logits.shape[2])
    slopes = xp.zeros_like(logits)
    if not places[0].size:
        return Loss(0.0, 0, 0), (slopes, 0)
    where = tuple(sent(logits, place) for place in places)
    wanted = sent(logits, labels[places])
    z, each = logits[where], xp.arange(wanted.size)
    guess = z.argmax(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        z = z - z.max(axis=1, keepdims=True)
        total = xp.exp(z).sum(axis=1, keepdims=True)
        value = (xp.log(total[:, 0]) - z[each, wanted]).sum(dtype="float64") / wanted.size
        probabilities = xp.exp(z) / total
    probabilities[each, wanted] -= 1
    slopes[where] = probabilities
    hits = (guess == wanted).sum()
    if xp is np:
        value, hits = float(value), int(hits)
    return Loss(value, wanted.size, hits), (slopes, wanted.size)


def series_loss_backward(saved: Saved, d_value: float = 1.0) -> Array:
    """Gradient of `value_loss` or `class_loss` for the outputs, times `d_value`.

    Shapes: (B, T, O), zero where there is no label.
    """
    slopes, count = saved
    gradient: Array = slopes * slopes.dtype.type(d_value / max(count, 1))
    return gradient


def _costs(error: Array, cost: ValueCost) -> tuple[Array, Array]:
    """The cost of each error, and its derivative."""
    xp = namespace(error)
    size = xp.abs(error)
    if cost == "mse":
        return error * error, 2 * error
    if cost == "mae":
        return size, xp.sign(error)
    inside = size <= 1
    return xp.where(inside, error * error / 2, size - 0.5), xp.clip(error, -1, 1)
