"""Gates of a chunk of tokens, with tokens along the rows of memory: every loop is over tokens.

For n tokens and C visible checkpoints with contexts c_i, online logits z and shares g:

    Z = C U^T / sqrt(K)        w_it = e^(Z_it - lse_t)        g_t = e^(z_t - lse_t)

lse_t is the log of the sum of all the exponentials of token t. With the online memory outside,
lse covers the checkpoints alone and g_t = 1.
"""

import math
from typing import Any

import numba
import numpy as np

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gemm import FULL, gemm


@device
def chunk_logits(contexts: Any, u_t: Any, weights: Any) -> None:
    """`Z` in `weights` (C, n), from contexts (C, K) and u_t (K, n)."""
    scale = 1 / np.sqrt(u_t.dtype.type(u_t.shape[0]))
    gemm(contexts, u_t, weights, scale, 0, FULL)


# Without "no NaN" a maximum does not vectorise. NaN still comes through: exp(NaN - any) is NaN.
@numba.njit(fastmath={"nnan", "nsz", "reassoc"}, error_model="numpy")
def _raise_to(row: Any, top: Any) -> None:
    for t in range(top.shape[0]):
        top[t] = max(top[t], row[t])


@device
def chunk_softmax(weights: Any, online: Any, outside: int, share: Any, lse: Any) -> None:
    """Logits (C, n) become gates, in place; fills share and lse (n,)."""
    one = share.dtype.type(1)
    for t in range(share.shape[0]):
        lse[t] = -np.inf if outside else online[t]
    for i in range(weights.shape[0]):
        _raise_to(weights[i], lse)
    for t in range(share.shape[0]):
        share[t] = one * 0 if outside else exp(online[t] - lse[t])
    for i in range(weights.shape[0]):
        for t in range(share.shape[0]):
            weights[i, t] = exp(weights[i, t] - lse[t])
            share[t] += weights[i, t]
    for t in range(share.shape[0]):
        share[t] = one / share[t]
    for i in range(weights.shape[0]):
        for t in range(share.shape[0]):
            weights[i, t] *= share[t]
    for t in range(share.shape[0]):
        part, top = share[t], lse[t]
        lse[t] -= math.log(part)
        share[t] = one if outside else part * exp(online[t] - top)


@device
def again_softmax(weights: Any, gates: Any, outside: int, total: Any) -> None:
    """Logits (C, n) become the gates that `chunk_softmax` made, in place; gates = (online, lse,
    share), of which the last is filled; total (n,) is scratch.

    They are divided by their sum once more: a large lse is rounded to a factor that all of a
    token's gates share, and gradients of logits are differences that would show it.
    """
    online, lse, share = gates
    for t in range(lse.shape[0]):
        share[t] = 1 if outside else exp(online[t] - lse[t])
        total[t] = 0 if outside else share[t]
    for i in range(weights.shape[0]):
        for t in range(lse.shape[0]):
            weights[i, t] = exp(weights[i, t] - lse[t])
            total[t] += weights[i, t]
    for t in range(lse.shape[0]):
        total[t] = 1 / total[t]
        share[t] *= 1 if outside else total[t]
    for i in range(weights.shape[0]):
        for t in range(lse.shape[0]):
            weights[i, t] *= total[t]


@device
def softmax_backward(gates: Any, uses: Any, outside: int, means: Any) -> None:
    """Gates (w, g) and their gradients become those of the logits, the 1/sqrt(K) included.

    gates = (weights (C, n), share (n,)); uses = (dw (C, n), g dg (n,)), overwritten by the result;
    means (n,) is scratch.
    """
    (weights, share), (d_weights, used) = gates, uses
    for t in range(share.shape[0]):
        means[t] = 0 if outside else used[t]
    for i in range(weights.shape[0]):
        for t in range(share.shape[0]):
            means[t] += weights[i, t] * d_weights[i, t]
    for i in range(weights.shape[0]):
        for t in range(share.shape[0]):
            d_weights[i, t] = weights[i, t] * (d_weights[i, t] - means[t])
    for t in range(share.shape[0]):
        used[t] = 0 if outside else used[t] - share[t] * means[t]
