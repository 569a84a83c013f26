"""Delta rule: a token writes the error of its value (DeltaNet, Schlag et al. 2021).

S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T          y_t = S_t^T q_t
"""

from typing import ClassVar

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.laws import Feature, Gate, Law
from mcore.recurrence.matrix import MatrixMemory, outer, times, transposed_times


class Delta(MatrixMemory):
    """Replace what a key recalls: write the error of the value.

    `beta` (B, T, H).
    """

    kind: ClassVar[str] = "delta"
    corrects: ClassVar[bool] = True

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v and the write strength of each token."""
        return {**super().inputs, "beta": "B T H"}

    @property
    def features(self) -> dict[str, Law]:
        """Unit queries and keys, sigmoid write strength."""
        return {
            "q": Feature(unit=True, scale=True),
            "k": Feature(unit=True),
            "v": Feature(),
            "beta": Gate("sigmoid"),
        }

    def step(self, state: Array, x: Inputs) -> Array:
        """`S + beta k (v - S^T k)^T`."""
        error = x["v"] - transposed_times(state, x["k"])
        return state + outer(x["beta"][..., None] * x["k"], error)

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """With e = v - S^T k: `de = beta dS^T k`, `dS <- dS - k de^T`, `dk = beta dS e - S de`."""
        beta, k = x["beta"][..., None], x["k"]
        error = x["v"] - transposed_times(state, k)
        written = times(d_state, error)
        d_error = beta * transposed_times(d_state, k)
        return d_state - outer(k, d_error), {
            "k": beta * written - times(state, d_error),
            "v": d_error,
            "beta": (k * written).sum(axis=-1),
        }
