"""Small models that streams are timed through, on one thread, in float32."""

from typing import Any

import mcore
from mcore.model import Model

VOCAB = 64
SIZES: dict[str, Any] = {"width": 64, "depth": 2, "heads": 2}
CUT = {"kind": "constant", "length": 64}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "quickstart": (
        {
            "recurrence": "linear",
            "segmentation": {"kind": "constant", "length": 8},
            "readout": "grm",
            "cache": {"limit": 8},
        },
        {"key": 6, "output_gate": False},
    ),
    "residual": (
        {
            "recurrence": "gated_delta",
            "segmentation": CUT,
            "readout": "residual",
            "cache": {"limit": 16},
        },
        {"key": 16, "value": 16},
    ),
    "ssc": (
        {
            "recurrence": "gated_delta",
            "segmentation": CUT,
            "readout": {"kind": "ssc", "top_k": 2},
            "cache": {"limit": 16, "dtype": "float16"},
        },
        {"key": 16, "value": 16},
    ),
    "one block": (
        {"recurrence": "gated_delta", "segmentation": CUT, "readout": "grm", "cache": {"limit": 8}},
        {"depth": 1, "key": 16, "value": 16},
    ),
    "grm": (
        {"recurrence": "gated_delta", "segmentation": CUT, "readout": "grm", "cache": {"limit": 8}},
        {"key": 32, "value": 32},
    ),
}
"""Width 64, two blocks, two heads, but for what each has of its own."""


def compiled(name: str) -> Model:
    """One of them."""
    memory, sizes = MODELS[name]
    spec = {
        "model": SIZES | sizes,
        "memory": memory,
        "data": {"task": "mqar", "vocab": VOCAB, "length": 64, "pairs": 4},
    }
    return mcore.compile(spec, backend="numba", threads=1)
