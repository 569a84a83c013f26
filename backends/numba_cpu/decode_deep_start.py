"""What decoding kernels of perceptrons begin with: a token, and the weights all start from."""

from typing import Any

import numpy as np

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gemm import transpose


@device
def finite(decay: Any, rows: Any) -> bool:
    """Whether the log-decays of some rows are."""
    for i in range(rows.shape[0]):
        for h in range(decay.shape[2]):
            if not np.isfinite(decay[rows[i], 0, h]):
                return False
    return True


@device
def load_token(token: Any, place: Any, work: Any) -> None:
    """q, k and the decay."""
    b, h = place
    decay = exp(token.decay[b, 0, h])
    for i in range(work.q.shape[0]):
        work.q[i], work.k[i] = token.q[b, 0, h, i], token.k[b, 0, h, i]
        work.decays[i] = decay


@device
def start_rows(token: Any, h: int, state: Any) -> None:
    """w_in over the transpose of w_out in the first rows (2 K, P) of `state`."""
    keys, width = token.w_in.shape[1], token.w_in.shape[2]
    for i in range(keys):
        for e in range(width):
            state[i, e] = token.w_in[h, i, e]
    transpose(token.w_out[h], state[keys : 2 * keys])
