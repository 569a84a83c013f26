"""Reference `route`: contexts are mean keys, gates one softmax over checkpoints and online memory.

r_t,i = <u_t, context_i> / sqrt(K)          (Behrouz et al. 2026, Eq. 10 and 16)
r_t,online = <u_t, mean of the keys of the open segment up to and including t> / sqrt(K)

Options of the router: sums instead of means; the online memory outside the softmax, its gate 1;
checkpoints chosen by lot (`lots.py`); no gradient into the contexts of checkpoints.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backend import Routes
from mcore.backends.numpy_ref.lots import lots
from mcore.router import Pool, Router
from mcore.segments import Segments


@dataclass(frozen=True)
class _Saved:
    u: Array
    segments: Segments
    router: Router
    gates: Array
    contexts: Array
    online: Array


def route(
    u: Array, keys: Array, segments: Segments, router: Router, pool: Pool
) -> tuple[Routes, Any]:
    """See `mcore.backend.Backend.route`."""
    online = _running(keys, segments, pool.keys) / _counts(segments, router, keys.dtype)
    contexts = _at_ends(online, segments)
    joined = np.concatenate([pool.contexts, contexts], axis=1)[:, : segments.columns]
    scale = u.shape[-1] ** -0.5
    logits = np.einsum("bthk,bchk->bthc", u, joined) * scale
    logits = np.where(segments.visible[:, :, None], logits, -np.inf)
    if router.top_k is not None:
        logits = np.where(_best(_scores(logits, segments, router), router.top_k), logits, -np.inf)
    own = np.einsum("bthk,bthk->bth", u, online)[..., None] * scale
    gates = _gates(logits, own, router)
    return Routes(gates, contexts), _Saved(u, segments, router, gates, joined, online)


def route_backward(saved: Any, d_gates: Array, d_contexts: Array) -> tuple[Array, Array, Pool]:
    """See `mcore.backend.Backend.route_backward`."""
    segments, cached = saved.segments, saved.segments.cached
    scale = saved.u.shape[-1] ** -0.5
    shares = saved.gates.copy()
    if saved.router.online == "outside":
        shares[..., -1] = 0
    mean = (shares * d_gates).sum(axis=-1, keepdims=True)
    d_logits = shares * (d_gates - mean) * scale
    du = np.einsum("bthc,bchk->bthk", d_logits[..., :-1], saved.contexts)
    du += d_logits[..., -1:] * saved.online
    d_joined = np.einsum("bthc,bthk->bchk", d_logits[..., :-1], saved.u)
    if saved.router.detach:
        d_joined = np.zeros_like(d_joined)
    d_ends = d_contexts.copy()
    d_ends[:, : segments.count - 1] += d_joined[:, cached:]
    d_means = d_logits[..., -1:] * saved.u
    for b, s, _, end in _spans(segments):
        d_means[b, end - 1] += d_ends[b, s]
    d_sums = d_means / _counts(segments, saved.router, d_means.dtype)
    dk, d_pool = _running_backward(d_sums, segments)
    return du, dk, Pool(d_joined[:, :cached], d_pool)


def _running(keys: Array, segments: Segments, before: Array) -> Array:
    """(B, T, H, K) sums of the open segment's keys up to each token."""
    sums = np.empty_like(keys)
    for b, s, begin, end in _spans(segments):
        carried = before[b] if s == 0 else 0
        sums[b, begin:end] = carried + np.cumsum(keys[b, begin:end], axis=0)
    return sums


def _counts(segments: Segments, router: Router, dtype: Any) -> Array:
    """(B, T, 1, 1) what a sum is divided by: the tokens of the segment so far, or 1."""
    counts = np.ones_like(segments.position) if router.pool == "sum" else segments.position + 1
    return counts.astype(dtype)[..., None, None]


def _at_ends(online: Array, segments: Segments) -> Array:
    """Contexts (B, S, H, K) of the segments."""
    rows, _, heads, width = online.shape
    contexts = np.zeros((rows, segments.count, heads, width), online.dtype)
    for b, s, _, end in _spans(segments):
        contexts[b, s] = online[b, end - 1]
    return contexts


def _running_backward(d_sums: Array, segments: Segments) -> tuple[Array, Array]:
    """Each key receives what flows into every later sum of its segment."""
    dk, d_before = np.zeros_like(d_sums), np.zeros_like(d_sums[:, 0])
    for b, s, begin, end in _spans(segments):
        dk[b, begin:end] = np.cumsum(d_sums[b, begin:end][::-1], axis=0)[::-1]
        if s == 0:
            d_before[b] = dk[b, begin]
    return dk, d_before


def _spans(segments: Segments) -> list[tuple[int, int, int, int]]:
    """(row, segment, begin, end) of every segment that holds a token."""
    return [
        (b, s, int(bounds[s]), int(bounds[s + 1]))
        for b, bounds in enumerate(segments.bounds)
        for s in range(segments.count)
        if bounds[s + 1] > bounds[s]
    ]


def _scores(logits: Array, segments: Segments, router: Router) -> Array:
    """By what checkpoints are chosen: their logits, or lots; -inf where none may be seen."""
    if router.seed is None:
        return logits
    drawn = lots(router.seed, segments, logits.shape[2])
    return np.where(segments.visible[:, :, None], drawn, -np.inf)


def _best(scores: Array, top_k: int) -> Array:
    """Whether an entry is among the `top_k` largest of its row; ties to the lower index."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(rank < top_k)


def _gates(logits: Array, own: Array, router: Router) -> Array:
    """One softmax over all, or over the checkpoints alone with gate 1 for the online memory."""
    if router.online == "inside":
        return _softmax(np.concatenate([logits, own], axis=-1))
    nothing = np.isneginf(logits).all(axis=-1, keepdims=True)
    gates = _softmax(np.concatenate([logits, np.where(nothing, own, -np.inf)], axis=-1))
    gates[..., -1] = 1
    return gates


def _softmax(logits: Array) -> Array:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: Array = weights / weights.sum(axis=-1, keepdims=True)
    return normalised
