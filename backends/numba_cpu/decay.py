"""Decay factors inside a chunk, and the gradient of the log-decays that made them.

With b_t the sum of the log-decays up to and including token t of the chunk,

    pairs[t, j] = e^(b_t - b_j) for j <= t      since[t] = e^b_t      until[j] = e^(b_end - b_j)

Sums and their differences are taken in float64: they can be large where their difference is not.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp


class Decay(NamedTuple):
    """Factors of n tokens: `pairs` (n, n), zero above the diagonal; `since`, `until` (n,)."""

    pairs: Any
    since: Any
    until: Any


class DecayGradient(NamedTuple):
    """Where the factors of a chunk were used, each entry times its gradient.

    Every entry still carries its factor, so nothing of order one cancels when decays are tiny.

    Attributes:
        pairs: (n, n) for `pairs`, below the diagonal.
        since: (n,) for `since`.
        until: (n,) for `until`.
    """

    pairs: Any
    since: Any
    until: Any


def no_decay(rows: int, dtype: Any) -> Decay:
    """The factors without decay: ones."""
    return Decay(np.tri(rows, dtype=dtype), np.ones(rows, dtype), np.ones(rows, dtype))


@device
def set_decay(log_decay: Any, sums: Any, decay: Any) -> None:
    """Fill `decay` from the log-decays (n,) of a chunk; `sums` (n,) is float64 scratch."""
    total = 0.0
    rows = sums.shape[0]
    for t in range(rows):
        total += log_decay[t]
        sums[t] = total
    zero = decay.since.dtype.type(0)
    for t in range(rows):
        decay.since[t] = sums[t]
        decay.until[t] = total - sums[t]
        for j in range(rows):
            decay.pairs[t, j] = sums[t] - sums[j]
        for j in range(rows):
            decay.pairs[t, j] = exp(decay.pairs[t, j]) if j <= t else zero
    for t in range(rows):
        decay.since[t] = exp(decay.since[t])
        decay.until[t] = exp(decay.until[t])


@device
def log_decay_gradient(used: Any, whole: Any, out: Any) -> None:
    """Gradient of each log-decay: the sum over all factors that contain it.

        out_i = sum_{t >= i > j} pairs_tj + sum_{t >= i} since_t + sum_{j < i} until_j + whole

    `whole` belongs to the factor of the whole chunk. Overwrites `used.pairs`.
    """
    rows = out.shape[0]
    later, earlier = whole, whole * 0
    for i in range(rows - 1, -1, -1):
        later += used.since[i]
        inside = whole * 0
        if i + 1 < rows:
            for j in range(i):
                used.pairs[i, j] += used.pairs[i + 1, j]
        for j in range(i):
            inside += used.pairs[i, j]
        out[i] = inside + later
    for i in range(rows):
        out[i] += earlier
        earlier += used.until[i]
