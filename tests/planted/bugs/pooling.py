"""Mistakes in contexts: what is pooled, over which tokens, divided by what."""

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.pieces import Array
from planted.routing import running_mean


@plant("routing.pool", kernel("linear", "grm"), "causality", "pi-agent-webservice-kit")
def context_of_the_whole_segment(keys: Array) -> Array:
    """The open segment's context is the mean of all its keys, those to come included."""
    return np.broadcast_to(keys.mean(axis=1, keepdims=True), keys.shape)


@plant("routing.pool", kernel("gated_linear", "grm"), "agreement", "memory_caching")
def sum_for_mean(keys: Array) -> Array:
    """Contexts are sums of keys, so that gates saturate as segments grow."""
    return np.cumsum(keys, axis=1)


@plant("routing.pool", kernel("gated_delta", "grm"), "agreement", "a wrapper of Mamba-2")
def context_without_own_token(keys: Array) -> Array:
    """The open segment's context ends before the token that asks."""
    means = running_mean(keys)
    means[:, 1:-1] = running_mean(keys)[:, :-2]
    means[:, 0] = 0
    return means


@plant("routing.pool", kernel("delta", "grm"), "agreement")
def context_is_the_last_key(keys: Array) -> Array:
    """A context is the newest key instead of a mean."""
    return keys


@plant("routing.pool", kernel("linear", "soup"), "split")
def divided_by_the_full_length(keys: Array) -> Array:
    """A running mean is divided by the tokens that the segment will have in the end."""
    return np.cumsum(keys, axis=1) / keys.dtype.type(keys.shape[1])


@plant("routing.pool", kernel("gla", "grm"), "packed")
def context_shared_by_heads(keys: Array) -> Array:
    """Contexts are averaged over heads, so that all heads look at the same segments."""
    return np.broadcast_to(running_mean(keys).mean(axis=2, keepdims=True), keys.shape)


@plant("routing.ask", kernel("gla", "ssc"), "causality", "a wrapper of GLA")
def asks_with_the_mean_query(u: Array, t: int) -> Array:
    """Gates come from u averaged over the row, tokens to come included."""
    return u.mean(axis=1)
