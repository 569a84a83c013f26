"""RetNet's retention: additive memory with a fixed decay per head (Sun et al. 2023).

    S_t = exp(log_decay_h) S_{t-1} + k_t v_t^T          y_t = S_t^T q_t

RetNet sets `exp(log_decay_h) = 1 - 2^(-5-h)` for head h.
"""

from typing import Any, ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Inputs
from mcore.recurrence.gated_linear import GatedLinear
from mcore.recurrence.laws import Feature, Law, Parameter


class Retention(GatedLinear):
    """Add k v^T to a memory that decays at a fixed rate per head (RetNet).

    The decay is a parameter `log_decay` (H,).
    """

    kind: ClassVar[str] = "retention"

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v and one decay per head."""
        return {**super().inputs, "log_decay": "H"}

    @property
    def prepared(self) -> dict[str, str]:
        """The decay repeated for every token."""
        return {**self.inputs, "log_decay": "B T H"}

    @property
    def features(self) -> dict[str, Law]:
        """Plain q, k, v, the first two rotated; RetNet's fixed decays, from 1/32 downwards."""
        return {
            "q": Feature(silu=False, rotary=True, scale=True),
            "k": Feature(silu=False, rotary=True),
            "v": Feature(silu=False),
            "log_decay": Parameter(fixed_log_decay, trained=False),
        }

    def prepare(self, inputs: Inputs) -> tuple[dict[str, Array], Any]:
        """The head's decay, repeated for every token."""
        xp = namespace(inputs["q"])
        prepared = dict(inputs)
        shape = inputs["q"].shape[:3]
        prepared["log_decay"] = xp.ascontiguousarray(xp.broadcast_to(inputs["log_decay"], shape))
        return prepared, None

    def prepare_backward(self, saved: Any, d_prepared: dict[str, Array]) -> dict[str, Array]:
        """The sum over rows and tokens."""
        return {**d_prepared, "log_decay": d_prepared["log_decay"].sum(axis=(0, 1))}


def fixed_log_decay(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """`log(1 - 2^(-5-h))` for head h, slower head by head (Sun et al. 2023, Eq. 8). Shape (H,)."""
    log_decay: Array = np.log1p(-np.exp2(-5.0 - np.arange(shape[0])))
    return log_decay
