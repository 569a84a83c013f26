"""Theorems about documents packed in rows; arguments as in `mcore.testing.properties`."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.testing.agreement import Make, assert_agree
from mcore.testing.strategies import Example, cut_inputs


class Packed(NamedTuple):
    """One document: its row, and its tokens begin <= t < end."""

    row: int
    begin: int
    end: int


def packed_equals_separate(make: Make, example: Example, document: Array, tolerance: float) -> None:
    """Documents packed in rows give the y and the gradients that each gives alone.

    Padding (negative ids) gives y = 0 and takes no gradient.
    """
    memory = make(example.composition)
    y, saved = memory.forward(example.inputs, document=document)
    dy = example.dy.astype(y.dtype)
    gradients = memory.backward(saved, dy)
    whole = {"y": y} | {name: gradients[name] for name in example.inputs}
    wanted = {name: np.zeros_like(array) for name, array in whole.items()}
    for place in documents(document):
        _add(wanted, example, place, _alone(make, example, place, dy))
    for name, array in wanted.items():
        assert_agree(whole[name], array, tolerance, name)


def documents(document: Array) -> list[Packed]:
    """Where each document lies; padding is none."""
    found = []
    for row, line in enumerate(np.asarray(document)):
        cuts = [0, *(np.flatnonzero(np.diff(line)) + 1).tolist(), len(line)]
        found += [Packed(row, *span) for span in pairwise(cuts) if line[span[0]] >= 0]
    return found


def _alone(make: Make, example: Example, place: Packed, dy: Array) -> dict[str, Any]:
    """y and gradients of one document on its own."""
    row, begin, end = place
    rows = {
        name: array[row : row + 1] if "B" in example.declared[name].split() else array
        for name, array in example.inputs.items()
    }
    memory = make(example.composition)
    y, saved = memory.forward(cut_inputs(rows, example.declared, slice(begin, end)))
    gradients = memory.backward(saved, dy[row : row + 1, begin:end])
    return {"y": y} | {name: gradients[name] for name in example.inputs}


def _add(
    wanted: dict[str, Array], example: Example, place: Packed, alone: dict[str, Array]
) -> None:
    row, begin, end = place
    for name, array in alone.items():
        tokens = name == "y" or "T" in example.declared[name].split()
        at = (slice(row, row + 1), slice(begin, end)) if tokens else ...
        wanted[name][at] += array
