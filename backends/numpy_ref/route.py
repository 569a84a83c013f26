"""Reference `route`: contexts are mean keys, gates one softmax over checkpoints and online memory.

r_t,i = <u_t, context_i> / sqrt(K)          (Behrouz et al. 2026, Eq. 10 and 16)
r_t,online = <u_t, mean of the keys of the open segment up to and including t> / sqrt(K)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.backend import Routes
from mcore.router import Pool, Router
from mcore.segments import Segments


@dataclass(frozen=True)
class _Saved:
    u: Array
    segments: Segments
    gates: Array
    contexts: Array
    online: Array


def route(
    u: Array, keys: Array, segments: Segments, router: Router, pool: Pool
) -> tuple[Routes, Any]:
    """See `mcore.backend.Backend.route`."""
    sums, counts = _running(keys, segments, pool.keys)
    online = sums / counts[..., None, None]
    contexts = _at_ends(online, segments)
    joined = np.concatenate([pool.contexts, contexts], axis=1)[:, : segments.columns]
    scale = u.shape[-1] ** -0.5
    logits = np.einsum("bthk,bchk->bthc", u, joined) * scale
    logits = np.where(segments.visible[:, :, None], logits, -np.inf)
    if router.top_k is not None:
        logits = np.where(_best(logits, router.top_k), logits, -np.inf)
    own = np.einsum("bthk,bthk->bth", u, online)[..., None] * scale
    gates = _softmax(np.concatenate([logits, own], axis=-1))
    return Routes(gates, contexts), _Saved(u, segments, gates, joined, online)


def route_backward(saved: Any, d_gates: Array, d_contexts: Array) -> tuple[Array, Array, Pool]:
    """See `mcore.backend.Backend.route_backward`."""
    segments, cached = saved.segments, saved.segments.cached
    scale = saved.u.shape[-1] ** -0.5
    mean = (saved.gates * d_gates).sum(axis=-1, keepdims=True)
    d_logits = saved.gates * (d_gates - mean) * scale
    du = np.einsum("bthc,bchk->bthk", d_logits[..., :-1], saved.contexts)
    du += d_logits[..., -1:] * saved.online
    d_joined = np.einsum("bthc,bthk->bchk", d_logits[..., :-1], saved.u)
    d_ends = d_contexts.copy()
    d_ends[:, : segments.count - 1] += d_joined[:, cached:]
    d_online = d_logits[..., -1:] * saved.u
    dk, d_pool = _running_backward(d_online, d_ends, segments)
    return du, dk, Pool(d_joined[:, :cached], d_pool)


def _running(keys: Array, segments: Segments, before: Array) -> tuple[Array, Array]:
    """Key sums (B, T, H, K) and token counts (B, T) of the open segment up to each token."""
    sums, counts = np.empty_like(keys), np.empty(keys.shape[:2], keys.dtype)
    for b, s, begin, end in _spans(segments):
        carried = before[b] if s == 0 else 0
        offset = segments.offset[b] if s == 0 else 0
        sums[b, begin:end] = carried + np.cumsum(keys[b, begin:end], axis=0)
        counts[b, begin:end] = offset + np.arange(1, end - begin + 1)
    return sums, counts


def _at_ends(online: Array, segments: Segments) -> Array:
    """Contexts (B, S, H, K) of the segments."""
    rows, _, heads, width = online.shape
    contexts = np.zeros((rows, segments.count, heads, width), online.dtype)
    for b, s, _, end in _spans(segments):
        contexts[b, s] = online[b, end - 1]
    return contexts


def _running_backward(d_online: Array, d_ends: Array, segments: Segments) -> tuple[Array, Array]:
    """Each key receives what flows into every later mean of its segment."""
    dk, d_before = np.zeros_like(d_online), np.zeros_like(d_online[:, 0])
    for b, s, begin, end in _spans(segments):
        offset = segments.offset[b] if s == 0 else 0
        d_mean = d_online[b, begin:end].copy()
        d_mean[-1] += d_ends[b, s]
        d_sum = d_mean / (offset + np.arange(1, end - begin + 1))[:, None, None]
        dk[b, begin:end] = np.cumsum(d_sum[::-1], axis=0)[::-1]
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


def _best(logits: Array, top_k: int) -> Array:
    """Whether an entry is among the `top_k` largest of its row; ties to the lower index."""
    order = np.argsort(-logits, axis=-1, kind="stable")
    rank = np.argsort(order, axis=-1, kind="stable")
    return np.asarray(rank < top_k)


def _softmax(logits: Array) -> Array:
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    normalised: Array = weights / weights.sum(axis=-1, keepdims=True)
    return normalised
