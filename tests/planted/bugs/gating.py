"""Mistakes in gates: what they are made of, and over which set they are normalised."""

import numpy as np

from planted.bug import plant
from planted.menu import kernel
from planted.pieces import Array
from planted.routing import score, softmax


@plant(
    "routing.normalise", kernel("gated_delta", "grm"), "gates_sum_to_one", "linear-memory-routing"
)
def online_ungated(logits: Array, counting: Array) -> Array:
    """The online memory counts 1, beside a softmax over checkpoints alone."""
    if logits.shape[-1] == 1:
        return np.ones_like(logits)
    cached = softmax(logits[..., :-1], counting[..., :-1])
    return np.concatenate([cached, np.ones_like(logits[..., :1])], axis=-1)


@plant("routing.normalise", kernel("delta", "grm"), "gates_sum_to_one", "linear-memory-routing")
def sigmoids_beside_the_online_memory(logits: Array, counting: Array) -> Array:
    """The online memory counts 1, and every checkpoint has a sigmoid of its own."""
    gates = 1 / (1 + np.exp(-logits))
    gates[..., -1] = 1
    return gates


@plant("routing.normalise", kernel("linear", "grm"), "gates_sum_to_one")
def independent_sigmoids(logits: Array, counting: Array) -> Array:
    """Every memory has a sigmoid of its own instead of a share of one softmax."""
    return np.where(counting, 1 / (1 + np.exp(-logits)), 0)


@plant("routing.normalise", kernel("gla", "grm"), "length_one_attention")
def cached_alone(logits: Array, counting: Array) -> Array:
    """The softmax covers checkpoints alone, and the online memory is forgotten beside them."""
    if logits.shape[-1] == 1:
        return np.ones_like(logits)
    cached = softmax(logits[..., :-1], counting[..., :-1])
    return np.concatenate([cached, np.zeros_like(logits[..., :1])], axis=-1)


@plant("routing.normalise", kernel("delta", "grm"), "packed")
def normalised_over_heads(logits: Array, counting: Array) -> Array:
    """The softmax runs over heads instead of over memories."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


@plant("routing.score", kernel("linear", "grm"), "permutation", "memory-caching-benchmark")
def gates_by_position(u: Array, contexts: Array) -> Array:
    """A logit depends on the checkpoint's place in the row instead of on its content."""
    place = np.arange(contexts.shape[1]) % u.shape[-1]
    return u[..., place]


@plant("routing.ask", kernel("gated_linear", "grm"), "query_dependence")
def asks_with_the_previous_token(u: Array, t: int) -> Array:
    """Gates come from u of the token before."""
    return u[:, max(t - 1, 0)]


@plant("routing.score", kernel("linear", "grm"), "length_one_attention")
def divided_by_the_width(u: Array, contexts: Array) -> Array:
    """Logits are divided by K instead of by its square root."""
    return score(u, contexts) * u.dtype.type(u.shape[-1] ** -0.5)


@plant("routing.normalise", kernel("gated_delta", "grm"), "packed")
def gates_of_the_batch(logits: Array, counting: Array) -> Array:
    """Gates are averaged over the rows of the batch."""
    gates = softmax(logits, counting)
    return np.broadcast_to(gates.mean(axis=0, keepdims=True), gates.shape)


@plant("routing.normalise", kernel("linear", "grm"), "scale")
def unshifted_exponentials(logits: Array, counting: Array) -> Array:
    """The softmax does not subtract its maximum, and overflows on large logits."""
    with np.errstate(over="ignore", invalid="ignore"):
        weights = np.where(counting, np.exp(logits), 0)
        return weights / weights.sum(axis=-1, keepdims=True)


@plant("routing.normalise", kernel("linear", "soup"), "soup_grm", "an LSTM wrapper")
def mixed_in_equal_parts(logits: Array, counting: Array) -> Array:
    """Soup is the plain mean of all memories, whatever is asked."""
    return np.full_like(logits, 1 / logits.shape[-1])
