"""Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000).

    [i f g o] = x_t + h_{t-1} U
    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)        h_t = sigmoid(o) tanh(c_t)        y_t = h_t

One U per head: heads do not see each other's h.
"""

from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.vector import VectorMemory, product, product_backward, sigmoid


class Lstm(VectorMemory):
    """A vector per head, kept by a forget gate and shown through an output gate (LSTM).

    Inputs `x` (B, T, H, 4V), gates i f g o; parameter `recurrent` (H, V, 4V). The state is h, c.
    """

    kind: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
    vectors: ClassVar[int] = 2

    def start_bias(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """1 for the forget gate: memories begin by lasting (Jozefowicz et al. 2015)."""
        bias = np.zeros(shape)
        self.split(bias)[1][...] = 1.0
        return bias

    def step(self, state: Array, x: Inputs) -> Array:
        """Gates, cell, output."""
        i, f, g, o = self._gates(state, x)
        c = f * state[..., 1, :] + i * g
        return np.stack([o * np.tanh(c), c], axis=-2)

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The lines of `step` backwards."""
        i, f, g, o = self._gates(state, x)
        h, c = state[..., 0, :], state[..., 1, :]
        shown = np.tanh(f * c + i * g)
        dh = d_state[..., 0, :]
        dc = d_state[..., 1, :] + dh * o * (1 - shown**2)
        d_gates = np.concatenate(
            [
                dc * g * i * (1 - i),
                dc * c * f * (1 - f),
                dc * i * (1 - g**2),
                dh * shown * o * (1 - o),
            ],
            axis=-1,
        )
        d_before, d_recurrent = product_backward(h, x["recurrent"], d_gates)
        d_state = np.stack([d_before, dc * f], axis=-2)
        return d_state, {"x": d_gates, "recurrent": d_recurrent}

    def _gates(self, state: Array, x: Inputs) -> tuple[Array, Array, Array, Array]:
        """The gates after their activations."""
        i, f, g, o = self.split(x["x"] + product(state[..., 0, :], x["recurrent"]))
        return sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
