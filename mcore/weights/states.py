"""The state of an RNN between calls: one memory state per layer, and torch's h and c."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcore.arrays import Array, as_array
from mcore.cache import MemoryState
from mcore.errors import InputError, ShapeError, SpecError
from mcore.memory_layer import Memory
from mcore.recurrence import Dims

RnnState = tuple[MemoryState, ...]
"""The state of each layer's memory, first layer first; also the form of its gradient."""

VECTORS = {"lstm": ("h", "c"), "gru": ("h",)}
"""What a rule's state is made of."""


def check_states(state: object, layers: int) -> RnnState:
    """Raise InputError unless there is a state for each layer."""
    if not isinstance(state, tuple) or len(state) != layers:
        raise InputError(
            f"state: is not one of {layers} layers; `saved.end` of a forward of this RNN would do, "
            "or its `begin(...)`"
        )
    return state


def begun(memory: Memory, vectors: Sequence[object], layers: int, width: int) -> RnnState:
    """States whose next token finds these vectors, each (layers, B, V).

    A memory's first token finds nothing: the states stand behind one token, which only the cuts of
    a segmentation could tell.

    Raises:
        SpecError: the memory is cut, or its readout needs keys.
        InputError, ShapeError: another number of vectors, or other shapes.
    """
    names = VECTORS[memory.rule.kind]
    if memory.segmentation.kind != "none" or set(memory.inputs) != set(memory.rule.inputs):
        raise SpecError(
            "begin: vectors from elsewhere have no place among the cuts of a segmentation; the "
            "RNN that is not wrapped would do"
        )
    if len(vectors) != len(names):
        raise InputError(f"begin: {len(vectors)} arrays; {' and '.join(names)} would do")
    arrays = [as_array(n, x, memory.dtype, np) for n, x in zip(names, vectors, strict=True)]
    rows = arrays[0].shape[1] if arrays[0].ndim == 3 else 1
    for name, array in zip(names, arrays, strict=True):
        if array.shape != (layers, rows, width):
            wanted = f"(layers, B, V) = {(layers, rows, width)}"
            raise ShapeError(f"{name}: shape {array.shape}, expected {wanted}")
    empty, one = memory.empty(Dims(rows, 1, 1, 0, width)), np.ones(rows, np.int64)
    online = np.concatenate(arrays, axis=-1)[:, :, None]
    return tuple(replace(empty, online=x, position=one, length=one) for x in online)


def hidden(state: RnnState, kind: str) -> tuple[Array, ...]:
    """The vectors of a state, each (layers, B, V)."""
    online = np.stack([layer.online[:, 0] for layer in state])
    return tuple(np.split(online, len(VECTORS[kind]), axis=-1))
