"""A state divided among the pieces of a batch, and put together again."""

from collections.abc import Mapping, Sequence

import numpy as np

from mcore.arrays import Array, namespace
from mcore.documents import check_documents
from mcore.model.part import DOCUMENT, State


def packed(document: object, tokens: Array) -> State:
    """The state of rows that start here and hold these documents; empty if there are none.

    Raises:
        ShapeError, InputError: ids of another shape, not integers, or padding that is not last.
    """
    if document is None:
        return {}
    return {DOCUMENT: check_documents(document, *np.shape(tokens)[:2])}


def split_state(state: Mapping[str, Array], count: int) -> list[State]:
    """The states of `count` pieces of nearly equal numbers of rows; empty if there is none."""
    parts: list[State] = [{} for _ in range(count)]
    for name, array in state.items():
        for part, rows in zip(parts, np.array_split(array, count), strict=True):
            part[name] = rows
    return parts


def join_states(parts: Sequence[State]) -> State:
    """One state of all rows; caches that hold fewer checkpoints get empty slots in front."""
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(arrays: Sequence[Array]) -> Array:
    slots = max(array.shape[1] for array in arrays) if arrays[0].ndim > 1 else 0
    joined: Array = namespace(arrays[0]).concatenate([_widened(array, slots) for array in arrays])
    return joined


def _widened(array: Array, slots: int) -> Array:
    missing = slots - array.shape[1] if array.ndim > 1 else 0
    if missing == 0:
        return array
    padding = ((0, 0), (missing, 0), *[(0, 0)] * (array.ndim - 2))
    widened: Array = namespace(array).pad(array, padding)
    return widened
