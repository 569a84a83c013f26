"""Small models to stream through, and one that is fed vectors."""

from functools import cache
from typing import Any

import numpy as np

import mcore
from mcore.arrays import Array
from mcore.model import Model
from mcore.model.part import State

VOCAB = 32
CONSTANT = {"kind": "constant", "length": 3}
DRIFT = {"kind": "adaptive", "min": 2, "max": 5, "threshold": 0.6}
SPECS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "decoded": (
        "numba",
        {"recurrence": "gated_delta", "readout": "grm", "cache": {"limit": 2}},
        {},
    ),
    "turned by position": ("numba", {"recurrence": "retention", "readout": "residual"}, {}),
    "whole numbers, shifted": (
        "numba",
        {
            "recurrence": "rwkv7",
            "readout": {"kind": "ssc", "top_k": 1},
            "start": "checkpoint",
            "cache": {"limit": 3, "dtype": "int8"},
        },
        {},
    ),
    "perceptrons, the least used goes": (
        "numba",
        {
            "recurrence": {"kind": "titans", "chunk": 2},
            "readout": "soup",
            "start": "checkpoint",
            "cache": {"limit": 2, "evict": "least_used"},
        },
        {},
    ),
    "cut by content": (
        "reference",
        {"recurrence": "linear", "segmentation": DRIFT, "readout": "soup"},
        {},
    ),
    "by use": (
        "reference",
        {
            "recurrence": "lstm",
            "readout": "grm",
            "cache": {"limit": 2, "evict": "least_used", "dtype": "float16"},
        },
        {},
    ),
    "a perceptron": (
        "reference",
        {"recurrence": "titans", "readout": "ssc", "start": "checkpoint", "cache": {"limit": 2}},
        {},
    ),
    "attention": ("reference", {}, {"mixer": "attention"}),
}


class Vectors(Model):
    """A model whose streams are vectors of two numbers: the nearest whole number to their sum."""

    channels = 2

    def step(self, tokens: Array, state: State | None = None) -> tuple[Array, State]:
        assert tokens.ndim == 3 and tokens.shape[2] == self.channels
        return super().step(np.rint(tokens.sum(axis=2)).astype(np.int64), state)


@cache
def small(name: str) -> Model:
    """A model of one or two narrow blocks, in float64."""
    backend, memory, sizes = SPECS[name]
    return mcore.compile(
        {
            "model": {"width": 16, "heads": 2, "depth": 2, **sizes},
            "memory": {"segmentation": CONSTANT, **memory},
            "data": {"task": "mqar", "vocab": VOCAB, "length": 16, "pairs": 2},
            "backend": backend,
            "dtype": "float64",
        }
    )


def vectors() -> Vectors:
    """The model that is fed vectors."""
    model = small("decoded")
    return Vectors(model.spec, model.layout, model.params, model.backend)


def classes() -> Model:
    """A model of series of two channels, whose head reads the mean of all tokens so far."""
    return mcore.compile(
        {
            "model": {"width": 16, "heads": 2, "depth": 1},
            "memory": {"recurrence": "gated_delta", "segmentation": CONSTANT, "readout": "grm"},
            "data": {
                "task": "series",
                "head": "classify",
                "columns": ["a", "b"],
                "classes": ["x", "y", "z"],
            },
            "backend": "numba",
            "dtype": "float64",
        }
    )
