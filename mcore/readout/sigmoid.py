"""Gates per channel, from what the memories answer instead of from their contexts."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.readout.base import Readout
from mcore.recurrence import Law, Parameter

SHUT = -4.0
"""Starting bias: gates near 0.02, so that a fresh model is nearly the plain recurrence."""

SPREAD = 0.02
"""Standard deviation of the gates' weights at the start."""


@dataclass(frozen=True)
class Sigmoid(Readout):
    """`y = o + sum_i sigmoid(o @ gate_online + o_i @ gate_cached + gate_bias) * o_i`.

    o is the online memory's answer and o_i that of checkpoint i; gates are per head and channel.
    """

    kind: ClassVar[str] = "sigmoid"
    answers_gate: ClassVar[bool] = True

    @property
    def inputs(self) -> dict[str, str]:
        """Two matrices and a bias per head."""
        return {"gate_online": "H V V", "gate_cached": "H V V", "gate_bias": "H V"}

    @property
    def features(self) -> dict[str, Law]:
        """Small matrices, and a bias that keeps gates nearly shut."""
        return {
            "gate_online": Parameter(_small),
            "gate_cached": Parameter(_small),
            "gate_bias": Parameter(lambda rng, shape: np.full(shape, SHUT)),
        }


def _small(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return SPREAD * rng.standard_normal(shape)
