"""Plain NumPy: batched products, backward by hand. Shapes as in `torch_layer`."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers import flat, unflat_all
from benchmarks.problem import Arrays, Problem
from mcore.arrays import Array


class Kept(NamedTuple):
    """What backward needs: inputs in segments, running means, gates, online parts, states."""

    q: Array
    k: Array
    v: Array
    u: Array
    running: Array
    cached: Array
    own: Array
    scores: Array
    online: Array
    states: Array


def turned(x: Array) -> Array:
    """Each matrix transposed."""
    return x.swapaxes(-1, -2)


def gates(u: Array, running: Array) -> tuple[Array, Array]:
    """Of the checkpoints (P, N, L, N), and of the online memory (P, N, L)."""
    p, n, length, width = running.shape
    contexts = running[:, :, -1]
    logits = np.empty((p, n, length, n + 1), u.dtype)
    logits[..., :n] = (u.reshape(p, -1, width) @ turned(contexts)).reshape(p, n, length, n)
    logits[..., n] = (u * running).sum(-1)
    ahead = np.triu(np.ones((n, n), bool))[:, None]
    np.copyto(logits[..., :n], -np.inf, where=ahead)
    logits *= width**-0.5
    logits -= logits.max(-1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(-1, keepdims=True)
    return logits[..., :n], logits[..., n]


def gated(kept: Kept, s: int) -> Array:
    """[g_1 q | ... | g_{s-1} q] of segment s: (P, L, s K)."""
    copies = kept.cached[:, s, :, :s, None] * kept.q[:, s, :, None]
    return copies.reshape(*copies.shape[:2], -1)


def forward(q: Array, k: Array, v: Array, u: Array, length: int) -> tuple[Array, Kept]:
    """y (P, T, V)."""
    q, k, v, u = (x.reshape(len(x), -1, length, x.shape[-1]) for x in (q, k, v, u))
    running = k.cumsum(2) / np.arange(1, length + 1, dtype=k.dtype)[:, None]
    cached, own = gates(u, running)
    scores = np.tril(q @ turned(k))
    kept = Kept(q, k, v, u, running, cached, own, scores, scores @ v, turned(k) @ v)
    states = kept.states.reshape(len(q), -1, v.shape[-1])
    y = own[..., None] * kept.online
    for s in range(1, q.shape[1]):
        y[:, s] += gated(kept, s) @ states[:, : s * q.shape[-1]]
    return y.reshape(len(q), -1, v.shape[-1]), kept


def backward(kept: Kept, dy: Array) -> dict[str, Array]:
    """Gradients of q, k, v, u, in segments."""
    q, k, v = kept.q, kept.k, kept.v
    dy = dy.reshape(v.shape)
    own_dy = kept.own[..., None] * dy
    d_scores = np.tril(own_dy @ turned(v))
    dq, dk = d_scores @ k, turned(d_scores) @ q
    dv = turned(kept.scores) @ own_dy
    d_cached, d_states = cached_backward(kept, dy, dq)
    dk += v @ turned(d_states)
    dv += k @ d_states
    du, d_keys = gates_backward(kept, d_cached, (dy * kept.online).sum(-1))
    return {"q": dq, "k": dk + d_keys, "v": dv, "u": du}


def cached_backward(kept: Kept, dy: Array, dq: Array) -> tuple[Array, Array]:
    """Gradients of the checkpoints' gates and of the states; adds those of q to `dq`."""
    p, n, length, width = kept.q.shape
    wide = np.ascontiguousarray(kept.states.transpose(0, 3, 1, 2)).reshape(p, -1, n * width)
    d_states, d_cached = np.zeros_like(kept.states), np.zeros_like(kept.cached)
    flat_states = d_states.reshape(p, n * width, -1)
    for s in range(1, n):
        pulled = (dy[:, s] @ wide[:, :, : s * width]).reshape(p, length, s, width)
        d_cached[:, s, :, :s] = (pulled @ kept.q[:, s, :, :, None])[..., 0]
        dq[:, s] += (kept.cached[:, s, :, None, :s] @ pulled)[:, :, 0]
        flat_states[:, : s * width] += turned(gated(kept, s)) @ dy[:, s]
    return d_cached, d_states


def gates_backward(kept: Kept, d_cached: Array, d_own: Array) -> tuple[Array, Array]:
    """Gradients of u and of the keys, through softmax and means."""
    p, n, length, width = kept.k.shape
    mean = (d_cached * kept.cached).sum(-1) + d_own * kept.own
    scale = width**-0.5
    d_logits = scale * kept.cached * (d_cached - mean[..., None])
    d_online = scale * kept.own * (d_own - mean)
    long = d_logits.reshape(p, n * length, n)
    du = (long @ kept.running[:, :, -1]).reshape(kept.u.shape)
    du += d_online[..., None] * kept.running
    d_contexts = turned(long) @ kept.u.reshape(p, n * length, width)
    shares = kept.u * (d_online / np.arange(1, length + 1, dtype=kept.u.dtype))[..., None]
    d_keys = np.flip(np.flip(shares, 2).cumsum(2), 2)
    return du, d_keys + d_contexts[:, :, None] / length


@dataclass
class Plain:
    """Inputs in their flat layout, and the gradient of y."""

    problem: Problem
    inputs: list[Array]
    dy: Array

    def forward(self) -> Any:
        """y and what backward needs."""
        q, k, v, u = self.inputs
        return forward(q, k, v, u, self.problem.segment)

    def both(self) -> Any:
        """y and the gradients."""
        y, kept = self.forward()
        return y, backward(kept, self.dy)

    def plain(self, found: Any) -> Arrays:
        """In mcore's layout."""
        y, grads = found
        shaped = {name: x.reshape(y.shape) for name, x in grads.items()}
        return unflat_all(y, shaped, self.problem)


def make(problem: Problem, inputs: Arrays, dy: Array) -> Plain:
    """BLAS is limited to one thread by `benchmarks.limits`."""
    return Plain(problem, [flat(inputs[name]) for name in ("q", "k", "v", "u")], flat(dy))
