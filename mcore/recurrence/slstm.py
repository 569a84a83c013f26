"""sLSTM (Beck et al. 2024, xLSTM): an LSTM with exponential gates and a normaliser.

    [i f z o] = x_t + h_{t-1} U
    m_t = max(log sigmoid(f) + m_{t-1}, i)
    i' = exp(i - m_t)      f' = exp(log sigmoid(f) + m_{t-1} - m_t)
    c_t = f' c_{t-1} + i' tanh(z)      n_t = f' n_{t-1} + i'
    h_t = sigmoid(o) c_t / n_t         y_t = h_t

The first token of a memory that starts at zero has m_t = i and f' = 0. As m_t is the larger of the
two exponents, n_t >= 1 from then on: n_{t-1} = 0 tells that a token is the first. One U per head.
"""

from typing import ClassVar, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.laws import Law, Parameter
from mcore.recurrence.vector import VectorMemory, product, product_backward, sigmoid

FORGET_POWER = 0.95
"""xLSTM's exponent for a layer half-way up; its own go from 0.3 to 1.6, layer by layer."""


class _Gates(NamedTuple):
    """i', f', tanh(z), sigmoid(o); sigmoid(-f); whether i set the maximum; and the state after."""

    i: Array
    f: Array
    z: Array
    o: Array
    slope: Array
    led: Array
    c: Array
    n: Array
    m: Array


class Slstm(VectorMemory):
    """A vector per head with exponential gates, divided by the sum of what was written (sLSTM).

    Inputs `x` (B, T, H, 4V), gates i f z o; parameter `recurrent` (H, V, 4V). The state is
    h, c, n, m.
    """

    kind: ClassVar[str] = "slstm"
    gates: ClassVar[int] = 4
    vectors: ClassVar[int] = 4

    @property
    def features(self) -> dict[str, Law]:
        """Recurrent weights start at 0."""
        return {**super().features, "recurrent": Parameter(zeros)}

    def start_bias(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Forget gate from 5 down to -7 over a head's channels: from long memories to short."""
        bias = np.zeros(shape)
        forget = self.split(bias)[1]
        place = np.arange(forget.shape[-1]) / max(forget.shape[-1] - 1, 1)
        forget[...] = 5.0 - 12.0 * place**FORGET_POWER
        return bias

    def step(self, state: Array, x: Inputs) -> Array:
        """Gates, cell and normaliser, output."""
        gates = self._gates(state, x)
        h = gates.o * gates.c / gates.n
        return np.stack([h, gates.c, gates.n, gates.m], axis=-2)

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The lines of `step` backwards, m included."""
        i, f, z, o, slope, led, c, n, _ = self._gates(state, x)
        h, c_before, n_before, _ = (state[..., e, :] for e in range(4))
        dh, dc, dn, dm = (d_state[..., e, :] for e in range(4))
        answer = c / n
        dc, dn = dc + dh * o / n, dn - dh * o * answer / n
        d_write = i * (dc * z + dn)
        d_keep = f * (dc * c_before + dn * n_before)
        d_max = dm - d_write - d_keep
        d_write, d_keep = d_write + led * d_max, d_keep + ~led * d_max
        d_gates = np.concatenate(
            [d_write, d_keep * slope, dc * i * (1 - z**2), dh * answer * o * (1 - o)], axis=-1
        )
        d_before, d_recurrent = product_backward(h, x["recurrent"], d_gates)
        d_state = np.stack([d_before, dc * f, dn * f, d_keep], axis=-2)
        return d_state, {"x": d_gates, "recurrent": d_recurrent}

    def _gates(self, state: Array, x: Inputs) -> _Gates:
        h, c, n, m = (state[..., e, :] for e in range(4))
        i, f, z, o = self.split(x["x"] + product(h, x["recurrent"]))
        kept = np.where(n == 0, -np.inf, m - np.logaddexp(0, -f))
        top = np.maximum(i, kept)
        write, keep, cell = np.exp(i - top), np.exp(kept - top), np.tanh(z)
        return _Gates(
            write, keep, cell, sigmoid(o), sigmoid(-f), i >= kept,
            keep * c + write * cell, keep * n + write, top,
        )  # fmt: skip


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Recurrent weights at the start (Beck et al. 2024)."""
    return np.zeros(shape)
