"""The decay gate of a memory, and the starting values of decays. A write gate is a `sigmoid`."""

import math

import numpy as np
from numpy.typing import DTypeLike

from mcore.arrays import Array, namespace
from mcore.layers.activations import sigmoid, sigmoid_backward, softplus, softplus_backward

CAP = 15.0
"""Bound of a capped pre-activation."""

STRONGEST = -(math.e**-0.5)
"""The largest decay of RWKV-7, of a channel and token."""

SLOWNESS = 16.0
"""What GLA divides its decays by."""

Saved = tuple[Array, Array, Array]


def decay_gate(x: Array, a_log: Array, dt_bias: Array) -> tuple[Array, Saved]:
    """How much of the memory a token keeps, as the logarithm of a factor in (0, 1].

        log_decay = -exp(a_log) softplus(x + dt_bias)

    Shapes: x (B, T, H), a_log (H,), dt_bias (H,) -> log_decay (B, T, H).
    Source: Mamba-2 (Dao and Gu 2024); Gated DeltaNet (Yang et al. 2025).
    """
    step, softplus_saved = softplus(x + dt_bias)
    rate = -namespace(x).exp(a_log)
    step *= rate
    return step, (softplus_saved, step, rate)


def decay_gate_backward(saved: Saved, dy: Array) -> tuple[Array, Array, Array]:
    """Gradients of `decay_gate`.

        dx = -dy exp(a_log) sigmoid(x + dt_bias)
        da_log = sum of dy log_decay        ddt_bias = sum of dx

    Shapes: dy (B, T, H) -> dx (B, T, H), da_log (H,), ddt_bias (H,).
    """
    softplus_saved, log_decay, rate = saved
    dx = softplus_backward(softplus_saved, dy * rate)
    return dx, (dy * log_decay).sum((0, 1)), dx.sum((0, 1))


def slow_decay(x: Array) -> tuple[Array, Array]:
    """GLA's decay (Yang et al. 2024): near 1 for every x above 0.

        log_decay = log(sigmoid(x)) / 16 = -softplus(-x) / 16

    Shapes: x (...) -> log_decay (...).
    """
    y, saved = softplus(-x)
    y *= -1 / SLOWNESS
    return y, saved


def slow_decay_backward(saved: Array, dy: Array) -> Array:
    """Gradient of `slow_decay`.

        dx = dy sigmoid(-x) / 16

    Shapes: dy (...) -> dx (...).
    """
    dx = softplus_backward(saved, dy)
    dx *= 1 / SLOWNESS
    return dx


def capped(x: Array) -> tuple[Array, Array]:
    """A pre-activation that stays in (-15, 15) (xLSTM, Beck et al. 2025).

        y = 15 tanh(x / 15)

    Shapes: x (...) -> y (...).
    """
    y = namespace(x).tanh(x * (1 / CAP))
    return y * CAP, y


def capped_backward(saved: Array, dy: Array) -> Array:
    """Gradient of `capped`.

        dx = dy (1 - (y / 15)^2)

    Shapes: dy (...) -> dx (...).
    """
    dx = 1 - saved**2
    dx *= dy
    return dx


def bounded_decay(x: Array) -> tuple[Array, Array]:
    """RWKV-7's decay (Peng et al. 2025): a factor between 0.545 and 1.

        log_decay = -exp(-1/2) sigmoid(x)

    Shapes: x (...) -> log_decay (...).
    """
    y, saved = sigmoid(x)
    return y * STRONGEST, saved


def bounded_decay_backward(saved: Array, dy: Array) -> Array:
    """Gradient of `bounded_decay`.

        dx = -exp(-1/2) dy s (1 - s),   s = sigmoid(x)

    Shapes: dy (...) -> dx (...).
    """
    return sigmoid_backward(saved, dy * STRONGEST)


def init_a_log(rng: np.random.Generator, heads: int, dtype: DTypeLike = np.float32) -> Array:
    """log A with A uniform in [1, 16], one per head (Dao and Gu 2024). Shape (heads,)."""
    return np.log(rng.uniform(1, 16, heads)).astype(dtype)


def init_dt_bias(rng: np.random.Generator, heads: int, dtype: DTypeLike = np.float32) -> Array:
    """Bias whose softplus is log-uniform in [0.001, 0.1], one per head. Shape (heads,).

    dt + log(1 - exp(-dt)) is the inverse of softplus.
    """
    dt = np.exp(rng.uniform(np.log(1e-3), np.log(0.1), heads))
    return (dt + np.log(-np.expm1(-dt))).astype(dtype)
