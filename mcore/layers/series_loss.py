"""What outputs of a series model cost: real values and classes, each where there is a label."""

from typing import Literal

import numpy as np

from mcore.arrays import Array
from mcore.layers.embedding import check_range
from mcore.layers.loss import Loss

ValueCost = Literal["mse", "mae", "huber"]

Saved = tuple[Array, int]
"""The gradient of the summed cost, and how many labels there are."""


def value_loss(outputs: Array, labels: Array, cost: ValueCost) -> tuple[Loss, Saved]:
    """Mean cost of the errors e = output - label, over the labels that are not NaN.

        mse: e^2        mae: |e|        huber: e^2 / 2 where |e| <= 1, else |e| - 1/2

    `Loss.correct` is 0: a real value is never right. Without any label the value is 0. Infinities
    and NaN in the outputs reach the value, without a warning.

    Shapes: outputs and labels (B, T, O).
    """
    scored = ~np.isnan(labels)
    count = int(scored.sum())
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(scored, outputs - np.where(scored, labels, 0), 0).astype(outputs.dtype)
        costs, slopes = _costs(error, cost)
        value = float(costs.sum(dtype="float64")) / max(count, 1)
    return Loss(value, count, 0), (slopes, count)


def class_loss(logits: Array, labels: Array) -> tuple[Loss, Saved]:
    """Mean cross-entropy in nats over the labels that are not -1.

        value = mean over labelled tokens of log(sum_c exp(z_c)) - z_label

    Without any label the value is 0. Infinities and NaN in the logits reach the value, without a
    warning.

    Shapes: logits (B, T, O), labels (B, T) of integers.

    Raises:
        DataError: a label is neither -1 nor a class.
    """
    where = np.nonzero(labels != -1)
    wanted = labels[where]
    check_range("class_loss: label", wanted, logits.shape[2])
    slopes = np.zeros_like(logits)
    if not wanted.size:
        return Loss(0.0, 0, 0), (slopes, 0)
    z, each = logits[where], np.arange(wanted.size)
    guess = z.argmax(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        z = z - z.max(axis=1, keepdims=True)
        total = np.exp(z).sum(axis=1, keepdims=True)
        value = float((np.log(total[:, 0]) - z[each, wanted]).sum(dtype="float64"))
        probabilities = np.exp(z) / total
    probabilities[each, wanted] -= 1
    slopes[where] = probabilities
    loss = Loss(value / wanted.size, wanted.size, int((guess == wanted).sum()))
    return loss, (slopes, wanted.size)


def series_loss_backward(saved: Saved, d_value: float = 1.0) -> Array:
    """Gradient of `value_loss` or `class_loss` for the outputs, times `d_value`.

    Shapes: (B, T, O), zero where there is no label.
    """
    slopes, count = saved
    gradient: Array = slopes * slopes.dtype.type(d_value / max(count, 1))
    return gradient


def _costs(error: Array, cost: ValueCost) -> tuple[Array, Array]:
    """The cost of each error, and its derivative."""
    size = np.abs(error)
    if cost == "mse":
        return error * error, 2 * error
    if cost == "mae":
        return size, np.sign(error)
    inside = size <= 1
    return np.where(inside, error * error / 2, size - 0.5), np.clip(error, -1, 1)
