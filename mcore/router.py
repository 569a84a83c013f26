"""How a token chooses among memories (Behrouz et al. 2026, Eq. 10 and 16).

The context of a segment is the mean of its keys; of the open segment, the mean of the keys so far,
the token's own included. With `r_t,i = <u_t, context_i> / sqrt(K)` the gates are one softmax over
the visible checkpoints and the online memory, or over the `top_k` best of them and the online one.
"""

from dataclasses import dataclass
from typing import NamedTuple

from mcore.arrays import Array


@dataclass(frozen=True)
class Router:
    """The gates' law.

    Attributes:
        top_k: how many checkpoints are read; None reads all. While no more than `top_k` are
            visible all are; ties go to the older checkpoint; the choice is a constant in backward.
    """

    top_k: int | None = None


class Pool(NamedTuple):
    """What routing carries from call to call, and the gradients with respect to it.

    Attributes:
        contexts: (B, C, H, K) contexts of the checkpoints in the cache.
        keys: (B, H, K) sum of the keys of the open segment.
    """

    contexts: Array
    keys: Array
