"""How a token chooses among memories (Behrouz et al. 2026, Eq. 10 and 16).

The context of a segment is the mean of its keys; of the open segment, the mean of the keys so far,
the token's own included. With `r_t,i = <u_t, context_i> / sqrt(K)` the gates are one softmax over
the visible checkpoints and the online memory, or over the `top_k` best of them and the online one.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from mcore.arrays import Array

Pooling = Literal["mean", "sum"]
Online = Literal["inside", "outside"]

GOLDEN = 0x9E3779B97F4A7C15
MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
"""Of the hash by which a random router chooses: the finaliser of SplitMix64 (Steele et al. 2014).

    hash(seed, position, head, i) = mix(mix(mix(mix(seed) ^ position) ^ head) ^ i)
    mix(z): z += GOLDEN; z = (z ^ z >> 30) * MULTIPLIERS[0]; z = (z ^ z >> 27) * MULTIPLIERS[1];
            z ^ z >> 31, all modulo 2^64
"""


@dataclass(frozen=True)
class Router:
    """The gates' law.

    Attributes:
        top_k: how many checkpoints are read; None reads all. While no more than `top_k` are
            visible all are; ties go to the older checkpoint; the choice is a constant in backward.
        pool: a context is the `mean` or the `sum` of keys.
        online: the online memory's logit is `inside` the softmax; or it is `outside`, its gate is
            1 and the softmax covers the checkpoints alone.
        seed: if not None, the `top_k` checkpoints are not the best ones but those with the largest
            `hash >> 11` of the seed, the token's position in its document, the head, and the
            checkpoint's place among the visible ones, the oldest being 0.
        detach: no gradient flows into the contexts of checkpoints.
    """

    top_k: int | None = None
    pool: Pooling = "mean"
    online: Online = "inside"
    seed: int | None = None
    detach: bool = False


class Pool(NamedTuple):
    """What routing carries from call to call, and the gradients with respect to it.

    Attributes:
        contexts: (B, C, H, K) contexts of the checkpoints in the cache.
        keys: (B, H, K) sum of the keys of the open segment.
    """

    contexts: Array
    keys: Array
