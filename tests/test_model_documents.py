"""A network sees each document of a packed row as if it stood alone."""

from typing import Any

import numpy as np
import pytest
from harness import BACKENDS

import mcore
from mcore.arrays import Array
from mcore.errors import InputError, ShapeError

LENGTHS = ([5, 1, 7, 3], [9, 2])
"""Of the documents in two rows of 16 tokens; the second row ends in padding."""
KINDS = ("gated_delta", "rwkv7", "mamba2", "retention", "lstm", "titans")
Documents = list[tuple[int, slice]]


def network(kind: str, backend: str) -> Any:
    """A memory, attention, and both side by side."""
    return mcore.compile(
        {
            "model": {
                "width": 16,
                "heads": 2,
                "depth": 3,
                "blocks": [
                    "memory",
                    {"mixer": "attention", "window": 3},
                    {"mixer": "parallel", "join": "gate"},
                ],
            },
            "memory": {
                "recurrence": kind,
                "segmentation": {"kind": "constant", "length": 2},
                "readout": "grm",
            },
            "data": {"task": "mqar", "vocab": 32, "length": 16, "pairs": 2},
            "backend": backend,
            "dtype": "float64",
        }
    )


def packing() -> tuple[Array, Documents]:
    """Ids, and where each document lies."""
    ids, places = np.full((2, 16), -1), []
    for row, lengths in enumerate(LENGTHS):
        begin = 0
        for name, length in enumerate(lengths):
            ids[row, begin : begin + length] = 10 - name
            places.append((row, slice(begin, begin + length)))
            begin += length
    return ids, places


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_equals_separate(kind: str, backend: str) -> None:
    model, (ids, places) = network(kind, backend), packing()
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 32, ids.shape)
    logits, saved = model.forward(tokens, document=ids)
    d_logits = np.where((ids >= 0)[..., None], rng.standard_normal(logits.shape), 0)
    gradients = model.backward(saved, d_logits)
    total = {name: np.zeros_like(x) for name, x in gradients.items()}
    for row, at in places:
        alone, kept = model.forward(tokens[row : row + 1, at])
        np.testing.assert_allclose(logits[row, at], alone[0], rtol=1e-9, atol=1e-10)
        for name, x in model.backward(kept, d_logits[row : row + 1, at]).items():
            total[name] += x
    for name, x in gradients.items():
        largest = max(float(np.abs(total[name]).max()), 1e-2)
        np.testing.assert_allclose(x, total[name], rtol=0, atol=1e-9 * largest, err_msg=name)


def test_threads_take_rows_with_their_documents() -> None:
    (ids, _), losses = packing(), []
    tokens = np.random.default_rng(0).integers(0, 32, ids.shape)
    labels = np.where(ids >= 0, tokens, -1)
    for threads in (1, 2):
        spec = network("gated_delta", "numba").spec
        model = mcore.compile(spec, threads=threads)
        losses.append(model.loss(tokens, labels, document=ids)[0].value)
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_documents_start_rows() -> None:
    model, (ids, _) = network("linear", "reference"), packing()
    tokens = np.zeros(ids.shape, int)
    _, saved = model.loss(tokens, tokens)
    with pytest.raises(InputError, match="one document each"):
        model.loss(tokens, tokens, model.end(saved), document=ids)
    with pytest.raises(ShapeError, match="document: shape"):
        model.forward(tokens, document=ids[:, 1:])
