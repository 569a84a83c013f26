"""The decay gate of a memory, and the starting values of decays. A write gate is a `sigmoid`."""

import numpy as np
from numpy.typing import DTypeLike

from mcore.arrays import Array, namespace
from mcore.layers.activations import softplus, softplus_backward

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


def init_a_log(rng: np.random.Generator, heads: int, dtype: DTypeLike = np.float32) -> Array:
    """log A with A uniform in [1, 16], one per head (Dao and Gu 2024). Shape (heads,)."""
    return np.log(rng.uniform(1, 16, heads)).astype(dtype)


def init_dt_bias(rng: np.random.Generator, heads: int, dtype: DTypeLike = np.float32) -> Array:
    """Bias whose softplus is log-uniform in [0.001, 0.1], one per head. Shape (heads,).

    dt + log(1 - exp(-dt)) is the inverse of softplus.
    """
    dt = np.exp(rng.uniform(np.log(1e-3), np.log(0.1), heads))
    return (dt + np.log(-np.expm1(-dt))).astype(dtype)
