"""Sliding-window linear attention: a token writes itself and, once more, the token before it.

    S_t = a_t S_{t-1} + beta_prev_t k_{t-1} v_{t-1}^T + beta_t k_t v_t^T,   a_t = exp(log_decay_t)
    y_t = S_t^T q_t

Behrouz et al. 2026, Eq. 28-29 (window 2). Where a memory starts afresh there is no token before.
The state (K + 1, V + 1) holds S, the last k as its last column and the last v as its last row.
"""

from typing import ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Dims, Inputs
from mcore.recurrence.laws import Gate, Law
from mcore.recurrence.matrix import MatrixMemory, outer, times, transposed_times


class Swla(MatrixMemory):
    """Add k v^T of a token and of the one before it to a memory that decays (SWLA).

    `log_decay`, `beta`, `beta_prev` (B, T, H).
    """

    kind: ClassVar[str] = "swla"

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v, the decay, and the write strengths of the token and the one before it."""
        scalars = dict.fromkeys(("log_decay", "beta", "beta_prev"), "B T H")
        return {**super().inputs, **scalars}

    @property
    def features(self) -> dict[str, Law]:
        """As for the base, with a softplus decay and sigmoid write strengths."""
        gates = {"log_decay": Gate("decay"), "beta": Gate("sigmoid"), "beta_prev": Gate("sigmoid")}
        return {**super().features, **gates}

    def state_shape(self, dims: Dims) -> tuple[int, ...]:
        """(K + 1, V + 1)."""
        return (dims.K + 1, dims.V + 1)

    def unflatten(self, flat: Array, width: int) -> Array:
        """(..., P) to (..., K + 1, V + 1)."""
        return super().unflatten(flat, width + 1)

    def step(self, state: Array, x: Inputs) -> Array:
        """Decay, write the last token again, write this one and keep it."""
        matrix, k, v = parts(state)
        again, now = x["beta_prev"][..., None] * k, x["beta"][..., None] * x["k"]
        decayed = np.exp(x["log_decay"])[..., None, None] * matrix
        return joined(decayed + outer(again, v) + outer(now, x["v"]), x["k"], x["v"])

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The lines of `step` backwards."""
        (matrix, k, v), (d_matrix, d_k, d_v) = parts(state), parts(d_state)
        beta, again = x["beta"][..., None], x["beta_prev"][..., None]
        decayed = np.exp(x["log_decay"])[..., None, None] * d_matrix
        now, before = times(d_matrix, x["v"]), times(d_matrix, v)
        d_before = joined(decayed, again * before, again * transposed_times(d_matrix, k))
        return d_before, {
            "k": d_k + beta * now,
            "v": d_v + beta * transposed_times(d_matrix, x["k"]),
            "log_decay": (decayed * matrix).sum(axis=(-2, -1)),
            "beta": (x["k"] * now).sum(axis=-1),
            "beta_prev": (k * before).sum(axis=-1),
        }

    def read(self, state: Array, q: Array) -> Array:
        """`S^T q`."""
        return transposed_times(state[..., :-1, :-1], q)

    def read_backward(self, state: Array, q: Array, dy: Array) -> tuple[Array, Array]:
        """`dS = q dy^T`, `dq = S dy`; the last token is not read."""
        xp = namespace(q)
        return joined(outer(q, dy), xp.zeros_like(q), xp.zeros_like(dy)), times(
            state[..., :-1, :-1], dy
        )


def parts(state: Array) -> tuple[Array, Array, Array]:
    """(..., K + 1, V + 1) to S (..., K, V), the last k (..., K) and v (..., V)."""
    return state[..., :-1, :-1], state[..., :-1, -1], state[..., -1, :-1]


def joined(matrix: Array, k: Array, v: Array) -> Array:
    """The inverse of `parts`, with 0 in the corner."""
    xp = namespace(matrix)
    *lead, keys, values = matrix.shape
    state: Array = xp.zeros((*lead, keys + 1, values + 1), matrix.dtype)
    state[..., :-1, :-1], state[..., :-1, -1], state[..., -1, :-1] = matrix, k, v
    return state
