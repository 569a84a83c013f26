"""Contexts, logits and gates, done right: Behrouz et al. 2026, Eq. 10 and 16.

r_i = <u_t, context_i> / sqrt(K);  gates = softmax of r over what counts, the online memory included
"""

import numpy as np

from planted.pieces import Array, Routing


def ask(u: Array, t: int) -> Array:
    """Token t asks with its own u."""
    return u[:, t]


def running_mean(keys: Array) -> Array:
    """The mean of the segment's keys up to and including each token."""
    return np.cumsum(keys, axis=1) / counts(keys)


def running_mean_backward(d_means: Array) -> Array:
    """A key takes what flows into every later mean, divided by that mean's count."""
    sums = np.cumsum((d_means / counts(d_means))[:, ::-1], axis=1)
    return sums[:, ::-1]


def counts(keys: Array) -> Array:
    """1, 2, ... up to the tokens of the segment (L, 1, 1)."""
    return np.arange(1, keys.shape[1] + 1).astype(keys.dtype)[:, None, None]


def score(u: Array, contexts: Array) -> Array:
    """Logits (B, H, N)."""
    scale = np.asarray(u.shape[-1] ** -0.5, u.dtype)
    return np.einsum("bhk,bnhk->bhn", u, contexts) * scale


def score_backward(u: Array, contexts: Array, d_logits: Array) -> tuple[Array, Array]:
    """Gradients of u and of the contexts."""
    scaled = d_logits * np.asarray(u.shape[-1] ** -0.5, u.dtype)
    du = np.einsum("bhn,bnhk->bhk", scaled, contexts)
    return du, np.einsum("bhn,bhk->bnhk", scaled, u)


def all_count(logits: Array) -> Array:
    """`grm`, `soup`: every visible memory counts."""
    return np.ones(logits.shape, bool)


class Choose:
    """`ssc`: the checkpoints of the `top_k` largest logits, ties to the lower index, and the online
    memory."""

    def __init__(self, top_k: int) -> None:
        self.top_k = top_k

    def __call__(self, logits: Array) -> Array:
        counting = np.zeros(logits.shape, bool)
        order = np.argsort(-logits[..., :-1], axis=-1, kind="stable")
        np.put_along_axis(counting, order[..., : self.top_k], True, axis=-1)
        counting[..., -1] = True
        return counting


def softmax(logits: Array, counting: Array) -> Array:
    """One softmax over everything that counts."""
    masked = np.where(counting, logits, -np.inf)
    weights = np.exp(masked - masked.max(axis=-1, keepdims=True))
    gates: Array = weights / weights.sum(axis=-1, keepdims=True)
    return gates


def softmax_backward(gates: Array, d_gates: Array) -> Array:
    """`dr = g (dg - sum_i g_i dg_i)`."""
    mean = (gates * d_gates).sum(axis=-1, keepdims=True)
    return gates * (d_gates - mean)


def routing(top_k: int | None = None) -> Routing:
    """All of it: with every visible memory, or the `top_k` best."""
    return Routing(
        ask,
        running_mean,
        running_mean_backward,
        score,
        score_backward,
        all_count if top_k is None else Choose(top_k),
        softmax,
        softmax_backward,
    )
