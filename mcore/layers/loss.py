"""Cross-entropy of the output layer, computed only where there is a label."""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from mcore.arrays import Array, namespace
from mcore.layers.embedding import check_range
from mcore.layers.linear import rows
from mcore.placing import sent, to_host

# Logits that exist at a time: 4M numbers, 16 MB in float32, fit a CPU's last cache. A loss with
# more of them goes block by block, keeps none, and computes them once more in backward.
BLOCK = 1 << 22


class Loss(NamedTuple):
    """Mean loss in nats per labelled token, how many are labelled, how many were guessed right.

    Of a model on a device, `value` and `correct` are arrays of one number there, so that nobody
    waits for them before they are read: `float(loss.value)`, or `shown` for both at once.
    """

    value: float
    count: int  # type: ignore[assignment]  # a NamedTuple is a tuple, which has a count()
    correct: int


class Scored(Protocol):
    """What has the numbers of a `Loss`."""

    @property
    def value(self) -> float: ...
    @property
    def count(self) -> int: ...
    @property
    def correct(self) -> int: ...


def shown(loss: Scored) -> Loss:
    """The same with numbers of Python: one copy from the device, if it lies there."""
    value, correct = read_numbers(loss.value, loss.correct)
    return Loss(value, loss.count, int(correct))


def read_numbers(*numbers: Any) -> list[float]:
    """Numbers that lie on a device, and such that do not, as Python's: one copy for all."""
    there = next((x for x in numbers if not isinstance(x, float | int)), None)
    if there is None:
        return [float(x) for x in numbers]
    xp = namespace(there)
    each = [xp.full((), x, "float64") if isinstance(x, float | int) else x for x in numbers]
    stacked = xp.stack([x.astype("float64").reshape(()) for x in each])
    found: list[float] = to_host(stacked).tolist()
    return found


class Saved(NamedTuple):
    """What `head_loss` keeps: the labelled tokens, and their probabilities if these are few."""

    shape: tuple[int, ...]
    where: Array
    hidden: Array
    weight: Array
    labels: Array
    probabilities: Array | None


def head_loss(hidden: Array, weight: Array, labels: Array) -> tuple[Loss, Saved]:
    """Project labelled tokens to the vocabulary and compare with their labels.

        z = h W        value = mean over labelled tokens of log(sum_v exp(z_v)) - z_label

    A tied embedding (vocab, D) is passed as its view `embedding.T`; the gradient comes back as
    (D, vocab) in the same memory order, so that its `.T` adds to the embedding's without a copy.
    Without any label the value is 0. Infinities and NaN in the logits reach the value, without a
    warning.

    Shapes: hidden (B, T, D), weight (D, vocab), labels (B, T) of integers, on the host, -1 = not
    scored.

    Raises:
        DataError: a label is neither -1 nor inside the vocabulary.
    """
    flat = labels.reshape(-1)
    where = np.flatnonzero(flat != -1)
    check_range("head_loss: label", flat[where], weight.shape[1])
    place, wanted = sent(hidden, where), sent(hidden, flat[where])
    saved = Saved(hidden.shape, place, rows(hidden)[place], weight, wanted, None)
    total, correct = 0.0, 0
    for block in _blocks(saved):
        probabilities, value, hits = _score(saved, block)
        total += value
        correct += hits
        if len(probabilities) == len(where):
            saved = saved._replace(probabilities=probabilities)
    return Loss(total / max(len(where), 1), len(where), correct), saved


def head_loss_backward(saved: Saved, d_value: float = 1.0) -> tuple[Array, Array]:
    """Gradients of the value of `head_loss`, times `d_value`.

        dz = (softmax(z) - onehot(label)) / count        dh = dz W^T        dW = h^T dz

    Shapes: d_hidden (B, T, D), zero where there is no label; dweight (D, vocab).
    """
    xp = namespace(saved.hidden)
    scale = d_value / max(len(saved.where), 1)
    d_hidden = xp.zeros(saved.shape, saved.hidden.dtype)
    dweight = xp.zeros_like(saved.weight)
    for block in _blocks(saved):
        probabilities = saved.probabilities
        if probabilities is None:
            probabilities, _, _ = _score(saved, block)
        d_logits = probabilities * scale
        d_logits[xp.arange(len(d_logits)), saved.labels[block]] -= scale
        rows(d_hidden)[saved.where[block]] = d_logits @ saved.weight.T
        _add_product(dweight, saved.hidden[block], d_logits)
    return d_hidden, dweight


def _add_product(total: Array, left: Array, right: Array) -> None:
    """total += left^T right. Adding across memory orders would take four times as long."""
    if total.flags.c_contiguous:
        total += left.T @ right
    else:
        transposed = total.T
        transposed += right.T @ left


def _blocks(saved: Saved) -> Iterator[slice]:
    """Slices of the labelled tokens, each of at most BLOCK logits."""
    step = max(BLOCK // saved.weight.shape[1], 1)
    return (slice(at, at + step) for at in range(0, len(saved.where), step))


def _score(saved: Saved, block: slice) -> tuple[Array, float, int]:
    """Probabilities of a block of labelled tokens, its summed loss, and its right guesses."""
    xp = namespace(saved.hidden)
    labels = saved.labels[block]
    each = xp.arange(len(labels))
    with np.errstate(invalid="ignore", over="ignore"):
        logits = saved.hidden[block] @ saved.weight
        guess = logits.argmax(1)
        logits -= logits[each, guess][:, None]
        value = -logits[each, labels]
        xp.exp(logits, out=logits)
        total = logits.sum(1)
        logits /= total[:, None]
        value += xp.log(total)
    found, hits = value.sum(dtype="float64"), (guess == labels).sum()
    return (logits, float(found), int(hits)) if xp is np else (logits, found, hits)
