"""Matrix LSTM: an additive memory with exponential input gates, kept in range by a running maximum.

    m_t = max(log f_t + m_{t-1}, i~_t)       log f_t = log(sigmoid(f~_t))
    f' = exp(log f_t + m_{t-1} - m_t)        i' = exp(i~_t - m_t)
    C_t = f' C_{t-1} + i' k_t v_t^T / sqrt(K)       n_t = f' n_{t-1} + i' k_t / sqrt(K)
    y_t = C_t^T q_t / (max(|n_t . q_t|, exp(-m_t)) + eps)

Beck et al. 2024, xLSTM (arXiv:2405.04517). C e^m and n e^m are what a memory without the maximum
would hold. The cached object is the triple: state (K + 1, V + 1) holds C, n as its last column, and
m in its last row.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Dims, Inputs
from mcore.recurrence.laws import Derived, Feature, Law
from mcore.recurrence.matrix import MatrixMemory, outer, times, transposed_times

EPS = 1e-6
"""Added to the denominator of a read."""

LARGEST = 80.0
"""Bound of -m in exp(-m): such a denominator makes any answer 0, and float32 still holds it."""


class Mlstm(MatrixMemory):
    """Add k v^T with exponential gates, divide reads by what the keys add up to (xLSTM).

    `igate`, `fgate` (B, T, H) are gate pre-activations.
    """

    kind: ClassVar[str] = "mlstm"

    @property
    def linear_read(self) -> bool:
        """No: answers are divided."""
        return False

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v and the pre-activations of the gates."""
        return {**super().inputs, "igate": "B T H", "fgate": "B T H"}

    @property
    def features(self) -> dict[str, Law]:
        """Plain values; gates `15 tanh(z / 15)`, z a map of q, k, v that is 0 at the start."""
        sources = ("q", "k", "v")
        return {
            "q": Feature(),
            "k": Feature(),
            "v": Feature(conv=False, silu=False),
            "igate": Derived("capped", of=sources, bias=small_bias),
            "fgate": Derived("capped", of=sources, bias=forget_bias),
        }

    def state_shape(self, dims: Dims) -> tuple[int, ...]:
        """(K + 1, V + 1)."""
        return (dims.K + 1, dims.V + 1)

    def unflatten(self, flat: Array, width: int) -> Array:
        """(..., P) to (..., K + 1, V + 1)."""
        return super().unflatten(flat, width + 1)

    def prepare(self, inputs: Inputs) -> tuple[dict[str, Array], Any]:
        """`fgate <- log(sigmoid(fgate))`."""
        return {**inputs, "fgate": -softplus(-inputs["fgate"])}, inputs["fgate"]

    def prepare_backward(self, saved: Any, d_prepared: dict[str, Array]) -> dict[str, Array]:
        """`df~ = dlog f sigmoid(-f~)`."""
        return {**d_prepared, "fgate": d_prepared["fgate"] * np.exp(-softplus(saved))}

    def step(self, state: Array, x: Inputs) -> Array:
        """The equations above, n as one more column of C."""
        body, m = parts(state)
        forget, write, largest = _gates(m, x)
        return joined(
            _wide(forget) * body + outer(_wide(write)[..., 0] * _key(x), _value(x)), largest
        )

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """The lines of `step` backwards; the maximum passes its gradient to the larger one."""
        (body, m), (d_body, d_largest) = parts(state), parts(d_state)
        forget, write, _ = _gates(m, x)
        written = times(d_body, _value(x))
        d_forget = forget * (d_body * body).sum(axis=(-2, -1))
        d_write = write * (_key(x) * written).sum(axis=-1)
        d_largest = d_largest - d_forget - d_write
        remembers = x["fgate"] + m >= x["igate"]
        d_kept = d_forget + np.where(remembers, d_largest, 0)
        d_value = transposed_times(d_body, _wide(write)[..., 0] * _key(x))
        return joined(_wide(forget) * d_body, d_kept), {
            "k": _wide(write)[..., 0] * written * x["k"].shape[-1] ** -0.5,
            "v": d_value[..., :-1],
            "igate": d_write + np.where(remembers, 0, d_largest),
            "fgate": d_kept,
        }

    def read(self, state: Array, q: Array) -> Array:
        """`C^T q / (max(|n . q|, exp(-m)) + eps)`."""
        body, m = parts(state)
        return divide(transposed_times(body, q), m)

    def read_backward(self, state: Array, q: Array, dy: Array) -> tuple[Array, Array]:
        """Quotient rule, then the linear read's."""
        body, m = parts(state)
        d_answers, dm = divide_backward(transposed_times(body, q), m, dy)
        return joined(outer(q, d_answers), dm), times(body, d_answers)

    def mix(self, states: Sequence[Array], gates: Array, seen: Array) -> Array:
        """`m* = max m_i`, and C, n weighed by `g_i exp(m_i - m*)`, over the visible memories."""
        bodies, maxima = zip(*map(parts, states), strict=True)
        shares, largest = _shares(np.stack(maxima, axis=1), seen)
        weights = gates * shares
        return joined(
            sum((_wide(weights[:, i]) * body for i, body in enumerate(bodies)), 0 * bodies[0]),
            largest,
        )

    def mix_backward(
        self, states: Sequence[Array], gates: Array, seen: Array, d_mixture: Array
    ) -> tuple[list[Array], Array]:
        """Gradients of `mix`: each memory's, and the gates'."""
        bodies, maxima = zip(*map(parts, states), strict=True)
        d_body, d_largest = parts(d_mixture)
        stacked = np.stack(maxima, axis=1)
        shares, _ = _shares(stacked, seen)
        d_weights = np.stack([(d_body * body).sum(axis=(-2, -1)) for body in bodies], axis=1)
        d_maxima = d_weights * gates * shares
        first = np.where(seen[..., None], stacked, -np.inf).argmax(axis=1)[:, None]
        d_rest = (d_largest - d_maxima.sum(axis=1))[:, None]
        each = namespace(first).arange(len(bodies))[:, None]
        d_maxima = d_maxima + np.where(each == first, d_rest, 0)
        weights = gates * shares
        d_states = [
            joined(_wide(weights[:, i]) * d_body, d_maxima[:, i]) for i in range(len(bodies))
        ]
        return d_states, d_weights * shares


def parts(state: Array) -> tuple[Array, Array]:
    """(..., K + 1, V + 1) to C with n as last column (..., K, V + 1), and m (...)."""
    return state[..., :-1, :], state[..., -1, 0]


def joined(body: Array, m: Array) -> Array:
    """The inverse of `parts`."""
    xp = namespace(body)
    last = xp.zeros((*body.shape[:-2], 1, body.shape[-1]), body.dtype)
    last[..., 0, 0] = m
    state: Array = xp.concatenate([body, last], axis=-2)
    return state


def divide(answers: Array, m: Array) -> Array:
    """Numerators over `max(|denominator|, exp(-m)) + eps`: (..., V + 1), (...) to (..., V)."""
    divided: Array = answers[..., :-1] / (np.maximum(abs(answers[..., -1:]), floor(m)) + EPS)
    return divided


def divide_backward(answers: Array, m: Array, dy: Array) -> tuple[Array, Array]:
    """Gradients of `divide`: with respect to the answers and to m."""
    below, last = floor(m), answers[..., -1:]
    scale = np.maximum(abs(last), below) + EPS
    d_scale = -(dy * (answers[..., :-1] / scale)).sum(axis=-1, keepdims=True) / scale
    d_last = np.where(abs(last) > below, np.sign(last) * d_scale, 0)
    moves = (abs(last) <= below) & (m[..., None] > -LARGEST)
    d_answers: Array = np.concatenate([dy / scale, d_last], axis=-1)
    return d_answers, np.where(moves, -below * d_scale, 0)[..., 0]


def floor(m: Array) -> Array:
    """exp(-m) (..., 1), the least denominator."""
    least: Array = np.exp(np.minimum(-m, LARGEST))[..., None]
    return least


def softplus(x: Array) -> Array:
    """`log(1 + exp(x))`."""
    y: Array = np.log1p(np.exp(-abs(x))) + np.maximum(x, 0)
    return y


def small_bias(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Input gates near exp(0): normal numbers of size 0.1."""
    return 0.1 * rng.standard_normal(shape)


def forget_bias(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Forget gates from sigmoid(3) in the first head to sigmoid(6) in the last. Shape (H, 1)."""
    bias: Array = np.linspace(3.0, 6.0, shape[0])[:, None]
    return bias


def _gates(m: Array, x: Inputs) -> tuple[Array, Array, Array]:
    """f', i' and the new m."""
    largest = np.maximum(x["fgate"] + m, x["igate"])
    return np.exp(x["fgate"] + m - largest), np.exp(x["igate"] - largest), largest


def _shares(maxima: Array, seen: Array) -> tuple[Array, Array]:
    """`exp(m_i - m*)` of visible memories, 0 of others; and m*. maxima (B, C, H), seen (B, C)."""
    visible = np.where(seen[..., None], maxima, -np.inf)
    largest = visible.max(axis=1)
    return np.exp(visible - largest[:, None]), largest


def _key(x: Inputs) -> Array:
    scaled: Array = x["k"] * x["k"].shape[-1] ** -0.5
    return scaled


def _value(x: Inputs) -> Array:
    one = namespace(x["v"]).ones((*x["v"].shape[:-1], 1), x["v"].dtype)
    return np.concatenate([x["v"], one], axis=-1)


def _wide(x: Array) -> Array:
    return x[..., None, None]
