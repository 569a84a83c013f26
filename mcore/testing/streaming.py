"""Theorems about memories that are fed in pieces; arguments as in `mcore.testing.properties`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.testing.agreement import Make, Memory, assert_agree
from mcore.testing.strategies import Example


def stream_equals_batch(
    make: Make,
    example: Example,
    split: Sequence[int],
    tolerance: float,
    document: Array | None = None,
) -> None:
    """Pieces through `step` and through continued `forward` give the y of one forward."""
    memory = make(example.composition)
    whole, saved = memory.forward(example.inputs, document=document)
    stepped, continued = [], []
    step_state = forward_state = None
    for piece, ids in zip(example.pieces(split), _ids(document, split), strict=True):
        y, step_state = memory.step(piece, step_state, document=ids)
        stepped.append(y)
        y, saved = memory.forward(piece, forward_state, document=ids)
        forward_state = saved.end
        continued.append(y)
    assert_agree(np.concatenate(stepped, axis=1), whole, tolerance, "steps")
    assert_agree(np.concatenate(continued, axis=1), whole, tolerance, "continued forwards")


def chained_backward_equals_whole(
    make: Make,
    example: Example,
    split: Sequence[int],
    tolerance: float,
    document: Array | None = None,
) -> None:
    """Backward piece by piece, handing on the state's gradient, gives one backward's gradients."""
    memory = make(example.composition)
    y, saved = memory.forward(example.inputs, document=document)
    whole = memory.backward(saved, example.dy.astype(y.dtype))
    chain = _chain(memory, example, list(zip(split, _ids(document, split), strict=True)))
    assert whole.get("state") is None and chain[0].get("state") is None
    for name in example.inputs:
        parts = [gradients[name] for gradients in chain]
        along = "T" in example.declared[name].split()
        joined = np.concatenate(parts, axis=1) if along else np.sum(parts, axis=0)
        assert_agree(joined, whole[name], tolerance, name)


def _chain(
    memory: Memory, example: Example, split: Sequence[tuple[int, Array | None]]
) -> list[dict[str, Any]]:
    """The gradients of every piece, first piece first."""
    state, records, position = None, [], 0
    lengths = [length for length, _ in split]
    for piece, (length, ids) in zip(example.pieces(lengths), split, strict=True):
        y, saved = memory.forward(piece, state, document=ids)
        dy = example.dy[:, position : position + length].astype(y.dtype)
        records.append((saved, dy))
        state, position = saved.end, position + length
    chain: list[dict[str, Any]] = []
    d_end = None
    for saved, dy in reversed(records):
        chain.insert(0, memory.backward(saved, dy, d_end))
        d_end = chain[0].get("state")
    return chain


def _ids(document: Array | None, split: Sequence[int]) -> list[Array | None]:
    """The document ids of each piece."""
    if document is None:
        return [None] * len(split)
    return list(np.split(document, np.cumsum(split)[:-1], axis=1))


def live_stream_equals_batch(
    make: Make, example: Example, split: Sequence[int], tolerance: float
) -> None:
    """Pieces fed to `Memory.stream` give the y of one forward, and its state at the end."""
    memory = make(example.composition)
    whole, saved = memory.forward(example.inputs)
    stream = memory.stream()
    fed = [stream.feed(piece) for piece in example.pieces(split)]
    assert_agree(np.concatenate(fed, axis=1), whole, tolerance, "fed")
    for name, array in vars(saved.end).items():
        if name != "origin" and array.size:
            assert_agree(getattr(stream.state, name), array, tolerance, name)
