"""JAX: the stacked form, compiled by XLA, differentiated by `jax.vjp`.

XLA has no products of one thread in eager mode worth measuring, so all is one `jax.jit`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import flat, unflat_all
from benchmarks.problem import Arrays, Problem
from mcore.arrays import Array

NAMES = ("q", "k", "v", "u")


def gates(k: Any, u: Any) -> tuple[Any, Any]:
    """Gates of the checkpoints (P, N, L, N) and of the online memory (P, N, L)."""
    p, n, length, width = k.shape
    running = jnp.cumsum(k, 2) / jnp.arange(1, length + 1, dtype=k.dtype)[:, None]
    cached = (u @ running[:, :, -1].swapaxes(1, 2)).reshape(p, n, length, n)
    own = (u.reshape(k.shape) * running).sum(-1, keepdims=True)
    ahead = jnp.triu(jnp.ones((n, n), bool))[:, None]
    logits = jnp.concatenate([jnp.where(ahead, -jnp.inf, cached), own], -1)
    weights = jax.nn.softmax(logits * width**-0.5, -1)
    return weights[..., :-1], weights[..., -1]


def layer(length: int, q: Any, k: Any, v: Any, u: Any) -> Any:
    """y (P, T, V), one product per segment over gated copies of its queries."""
    q, k, v = (x.reshape(x.shape[0], -1, length, x.shape[-1]) for x in (q, k, v))
    p, n, _, width = k.shape
    cached, own = gates(k, u)
    online = own[..., None] * (jnp.tril(q @ k.swapaxes(2, 3)) @ v)
    states = (k.swapaxes(2, 3) @ v).reshape(p, n * width, -1)
    answers = [online[:, 0]]
    for s in range(1, n):
        gated = cached[:, s, :, :s, None] * q[:, s, :, None]
        read = gated.reshape(p, length, s * width) @ states[:, : s * width]
        answers.append(online[:, s] + read)
    return jnp.concatenate(answers, 1)


def layer_and_gradients(length: int, dy: Any, inputs: Any) -> Any:
    """y and the gradients of q, k, v, u."""
    y, backward = jax.vjp(partial(layer, length), *inputs)
    return y, backward(dy)


@dataclass
class Jax:
    """Both functions, compiled, and their inputs."""

    problem: Problem
    inputs: list[Any]
    dy: Any

    def __post_init__(self) -> None:
        self._forward = jax.jit(partial(layer, self.problem.segment))
        self._both = jax.jit(partial(layer_and_gradients, self.problem.segment))

    def forward(self) -> Any:
        """y."""
        return jax.block_until_ready(self._forward(*self.inputs))

    def both(self) -> Any:
        """y and the gradients."""
        return jax.block_until_ready(self._both(self.dy, self.inputs))

    def plain(self, found: Any) -> Arrays:
        """As NumPy arrays in mcore's layout."""
        y, grads = found
        named = {name: np.asarray(x) for name, x in zip(NAMES, grads, strict=True)}
        return unflat_all(np.asarray(y), named, self.problem)


def make(problem: Problem, inputs: Arrays, dy: Array) -> Jax:
    """On one thread, as `benchmarks.limits` tells XLA."""
    arrays = [jnp.asarray(flat(inputs[name])) for name in NAMES]
    return Jax(problem, arrays, jnp.asarray(flat(dy)))
