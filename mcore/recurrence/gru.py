"""Gated recurrent unit (Cho et al. 2014), in the form whose reset comes after the product.

    [r z] = sigmoid(x_rz + h_{t-1} U_rz)        n = tanh(x_n + r (h_{t-1} U_n + c_n))
    h_t = (1 - z) n + z h_{t-1}                 y_t = h_t

One U and c_n per head: heads do not see each other's h. c_n is `recurrent_bias`.
"""

from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.laws import Law, Parameter
from mcore.recurrence.vector import VectorMemory, product, product_backward, sigmoid


class Gru(VectorMemory):
    """A vector per head that moves towards a candidate, as far as a gate lets it (GRU).

    Inputs `x` (B, T, H, 3V), gates r z n; parameters `recurrent` (H, V, 3V), `recurrent_bias`
    (H, V). The state is h.
    """

    kind: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3
    vectors: ClassVar[int] = 1

    @property
    def inputs(self) -> dict[str, str]:
        """Pre-activations, recurrent weights, and the bias inside the reset."""
        return {**super().inputs, "recurrent_bias": "H V"}

    @property
    def features(self) -> dict[str, Law]:
        """The bias inside the reset starts at 0."""
        return {**super().features, "recurrent_bias": Parameter(self.start_bias)}

    def step(self, state: Array, x: Inputs) -> Array:
        """Gates, candidate, mixture."""
        (_, z, n), _ = self._gates(state, x)
        h: Array = (1 - z) * n + z * state[..., 0, :]
        return h[..., None, :]

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The lines of `step` backwards."""
        (r, z, n), inner = self._gates(state, x)
        h, dh = state[..., 0, :], d_state[..., 0, :]
        d_candidate = dh * (1 - z) * (1 - n**2)
        d_reset = d_candidate * inner * r * (1 - r)
        d_update = dh * (h - n) * z * (1 - z)
        d_product = np.concatenate([d_reset, d_update, d_candidate * r], axis=-1)
        d_before, d_recurrent = product_backward(h, x["recurrent"], d_product)
        return (dh * z + d_before)[..., None, :], {
            "x": np.concatenate([d_reset, d_update, d_candidate], axis=-1),
            "recurrent": d_recurrent,
            "recurrent_bias": (d_candidate * r).sum(axis=0),
        }

    def _gates(self, state: Array, x: Inputs) -> tuple[tuple[Array, Array, Array], Array]:
        """r, z, n after their activations, and what r multiplies."""
        ours, theirs = self.split(x["x"]), self.split(product(state[..., 0, :], x["recurrent"]))
        r, z = (sigmoid(a + b) for a, b in zip(ours[:2], theirs[:2], strict=True))
        inner = theirs[2] + x["recurrent_bias"]
        return (r, z, np.tanh(ours[2] + r * inner)), inner
