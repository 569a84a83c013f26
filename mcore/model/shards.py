"""A batch split by rows, and the losses and gradients of the pieces put together again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.layers.loss import Loss
from mcore.model.carry import split_state
from mcore.model.part import Params, State


@dataclass(frozen=True)
class Shards:
    """What the pieces keep for backward, each with its share of the labels."""

    parts: list[tuple[Any, float]]


def split(
    count: int, tokens: Array, labels: Array, state: Mapping[str, Array]
) -> list[tuple[Array, Array, State]]:
    """`count` pieces of nearly equal numbers of rows."""
    rows = np.array_split(tokens, count), np.array_split(labels, count)
    return list(zip(*rows, split_state(state, count), strict=True))


def gather_losses(losses: Sequence[tuple[Loss, Any]]) -> tuple[Loss, Shards]:
    """The loss over all labels, from that of each piece."""
    count = sum(loss.count for loss, _ in losses)
    weights = [loss.count / max(count, 1) for loss, _ in losses]
    value = sum(loss.value * weight for (loss, _), weight in zip(losses, weights, strict=True))
    correct = sum(loss.correct for loss, _ in losses)
    saved = [(kept, weight) for (_, kept), weight in zip(losses, weights, strict=True)]
    return Loss(value, count, correct), Shards(saved)


def add_up(gradients: Sequence[Params]) -> Params:
    """Sum of the pieces' gradients, in their order."""
    total = dict(gradients[0])
    for more in gradients[1:]:
        for name, gradient in more.items():
            total[name] = total[name] + gradient
    return total
