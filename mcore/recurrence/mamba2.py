"""Mamba-2: an additive memory whose decay and write share one step size (Dao and Gu 2024).

    S_t = exp(step_t A) S_{t-1} + k_t (step_t x_t)^T          y_t = S_t^T q_t + D x_t

arXiv:2405.21060: q is its C, k its B. The memory is `gated_linear`'s, with `v = step x` and
`log_decay = step A`; what differs is how a layer makes its inputs, and that `D x` goes past it.
"""

from typing import ClassVar

from mcore.recurrence.gated_linear import GatedLinear
from mcore.recurrence.laws import Derived, Feature, Gate, Law


class Mamba2(GatedLinear):
    """Add k v^T to a memory that decays as much as the token's own step size says (Mamba-2).

    `log_decay` (B, T, H) is at most 0; v holds the step already.
    """

    kind: ClassVar[str] = "mamba2"
    finish: ClassVar[tuple[str, ...]] = ("skip", "gate", "wide_norm")

    @property
    def features(self) -> dict[str, Law]:
        """Convolved, SiLU-activated q, k and x; `v = step x`, the skip `D x`. Nothing scaled."""
        return {
            "q": Feature(),
            "k": Feature(),
            "value": Feature(),
            "log_decay": Gate("decay"),
            "v": Derived("held", of=("value", "log_decay")),
            "skip": Derived("scaled", of=("value",)),
        }
