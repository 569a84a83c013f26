"""RWKV-7: channels decay, and what a removal key recalls is taken out, channel by channel.

    S_t = diag(exp(log_decay_t)) S_{t-1} - (kk_t * a_t) (S_{t-1}^T kk_t)^T + k_t v_t^T
    y_t = S_t^T q_t

Peng et al. 2025 (arXiv:2503.14456); q is its r. `kk` has unit norm, `a` lies in (0, 1).
"""

from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.laws import Derived, Feature, Gate, Law
from mcore.recurrence.matrix import MatrixMemory, outer, times, transposed_times

RANK = 16
"""Width of the bottlenecks of decay, a and output gate."""


class Rwkv7(MatrixMemory):
    """Add k v^T to a memory that decays by channel and forgets what a removal key recalls (RWKV-7).

    `log_decay`, `kk`, `a` (B, T, H, K).
    """

    kind: ClassVar[str] = "rwkv7"
    corrects: ClassVar[bool] = True
    finish: ClassVar[tuple[str, ...]] = ("norm", "skip", "times")

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v, the decays, the removal key, and its strength in each channel."""
        return {**super().inputs, **dict.fromkeys(("log_decay", "kk", "a"), "B T H K")}

    @property
    def features(self) -> dict[str, Law]:
        """All from mixes with the token before; two keys from one; a bonus past the memory."""
        stream = Feature(conv=False, silu=False, shift=True)
        return {
            "q": stream,
            "key": stream,
            "v": stream,
            "log_decay": Gate("bounded_decay", RANK, "tanh", decay_bias, shift=True),
            "a": Gate("sigmoid", RANK, bias=zeros, shift=True),
            "z": Gate("identity", RANK, "sigmoid", shift=True),
            "kk": Derived("removal", of=("key",)),
            "k": Derived("replacement", of=("key", "a")),
            "skip": Derived("bonus", of=("q", "k", "v")),
        }

    def step(self, state: Array, x: Inputs) -> Array:
        """Decay, remove, write; what is removed is read from the memory before its decay."""
        recalled = transposed_times(state, x["kk"])
        decayed = np.exp(x["log_decay"])[..., None] * state
        return decayed - outer(x["kk"] * x["a"], recalled) + outer(x["k"], x["v"])

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The lines of `step` backwards."""
        recalled = transposed_times(state, x["kk"])
        d_recalled = -transposed_times(d_state, x["kk"] * x["a"])
        d_removed = -times(d_state, recalled)
        decayed = np.exp(x["log_decay"])[..., None] * d_state
        return decayed + outer(x["kk"], d_recalled), {
            "k": times(d_state, x["v"]),
            "v": transposed_times(d_state, x["k"]),
            "log_decay": (decayed * state).sum(axis=-1),
            "kk": times(state, d_recalled) + x["a"] * d_removed,
            "a": x["kk"] * d_removed,
        }


def decay_bias(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """From -6.5 (almost no decay) in the first channel of a head to -1.5 in the last."""
    ramp = np.linspace(0.0, 1.0, shape[1]) ** 0.85
    return np.broadcast_to(5.0 * ramp - 6.5, shape).copy()


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """A bias of 0: half of what is recalled is removed."""
    return np.zeros(shape)
