"""Running means (or sums) of a segment's keys, a chunk of tokens at a time.

The online memory's context at token t is r_t = (k_1 + ... + k_t) / n_t over the open segment, n_t
the number of its tokens so far (1 for `pool: sum`); its logit is <u_t, r_t> / sqrt(K).
"""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.apart import apart
from mcore.backends.numba_cpu.blocks import fill
from mcore.backends.numba_cpu.caching import device


@device
def start_pool(x: Any, place: Any, sums: Any) -> int:
    """Key sum with which segment `place` = (b, h, s) begins, and its number of tokens."""
    b, h, s = place
    for j in range(sums.shape[0]):
        sums[j] = x.stock.keys[b, h, j] if s == 0 else 0
    return x.offset[b] if s == 0 else 0


@device
def divisor(x: Any, count: int) -> Any:
    """What the sum of `count` keys is divided by to give a context."""
    return x.u.dtype.type(1 if x.sums else count)


@device
def pool_logits(x: Any, tokens: Any, count: int, sums: Any, online: Any) -> None:
    """Online logits of a chunk; tokens = (n, k, u), `count` and `sums` before the first of them."""
    n, k, u = tokens
    scale = 1 / np.sqrt(u.dtype.type(u.shape[1]))
    fill(online, 0)
    for t in range(n):
        online[t] = _pooled(sums, k[t], u[t]) * scale / divisor(x, count + 1 + t)


@apart
def _pooled(sums: Any, key: Any, query: Any) -> Any:
    """One more key, and what the query makes of the sum."""
    logit = query[0] * 0
    for j in range(sums.shape[0]):
        sums[j] += key[j]
        logit += sums[j] * query[j]
    return logit


@device
def pool_keys(k: Any, n: int, sums: Any) -> None:
    """Add n keys to `sums`."""
    for t in range(n):
        _add_times(k[t], k.dtype.type(1), sums)


@device
def pool_backward(x: Any, tokens: Any, count: int, sums: Any, given: Any) -> None:
    """Through the online logits of a chunk: on for u, then back for the keys.

    tokens = (n, k, u); sums = (key sum before the chunk, gradient of the key sum after it), of
    which the first is lost and the second becomes that of the key sum before; given = (gradients of
    the logits, du, dk): adds to du and dk.
    """
    n, k, u = tokens
    pooled, d_pooled = sums
    d_online, du, dk = given
    for t in range(n):
        d_online[t] /= divisor(x, count + 1 + t)
        _run_on(k[t], pooled, d_online[t], du[t])
    for t in range(n - 1, -1, -1):
        _run_back(u[t], d_online[t], d_pooled, dk[t])


@apart
def _run_on(step: Any, total: Any, weight: Any, out: Any) -> None:
    """`total += step; out += weight total`."""
    for j in range(total.shape[0]):
        total[j] += step[j]
        out[j] += weight * total[j]


@apart
def _run_back(step: Any, weight: Any, total: Any, out: Any) -> None:
    """`total += weight step; out += total`."""
    for j in range(total.shape[0]):
        total[j] += weight * step[j]
        out[j] += total[j]


@apart
def _add_times(x: Any, weight: Any, target: Any) -> None:
    for j in range(target.shape[0]):
        target[j] += weight * x[j]
