"""Small models and runs that the targets are made of."""

from typing import Any

import mcore
from mcore.errors import McoreError
from mcore.spec import Spec

SPEC: dict[str, Any] = {
    "model": {"width": 8, "depth": 1, "heads": 2, "mlp": 1.0, "conv": 2},
    "memory": {
        "recurrence": "gated_delta",
        "segmentation": {"kind": "constant", "length": 3},
        "readout": "grm",
        "cache": {"limit": 2},
    },
    "data": {"task": "mqar", "vocab": 12, "length": 8, "pairs": 2, "eval_examples": 2},
    "train": {"steps": 2, "batch": 2},
    "backend": "reference",
}
"""Little of everything, and no kernels to compile."""

LARGEST = 200_000
"""Parameters of a model that a target makes; larger ones are right, but slow."""


class TooLarge(McoreError):
    """A spec that is right, and whose model is too large to be made again and again."""


def compile_small(spec: Spec) -> mcore.Model:
    """`mcore.compile`, for models that are small."""
    plan = mcore.plan(spec)
    if plan.parameters > LARGEST and plan.parameters < 10**9:
        raise TooLarge(f"{plan.parameters} parameters")
    return mcore.compile(spec, backend="reference", threads=1)
