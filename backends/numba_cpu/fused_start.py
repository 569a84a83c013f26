"""A segment that goes on from the checkpoint before it reads that memory twice: merge the reads.

The first chunk meets S, the end of the segment before, as the memory that it goes on from and as
the newest checkpoint, with gates g_t and w_t. With the decay since_t up to token t, both together
are one read of S:

    g_t since_t (S^T q_t) + w_t (S^T q_t) = (w_t + g_t since_t) S^T q_t

so that going on costs no product, forward or backward.
"""

from typing import Any

from mcore.backends.numba_cpu.caching import device

APART = -1
"""In place of a column: the memory that a chunk starts from is none of its checkpoints."""


@device
def start_column(x: Any, place: Any) -> int:
    """The column of the checkpoint that segment `place` = (b, h, s) goes on from, or `APART`.

    Checkpoints that are read as constants stay apart: going on is not.
    """
    b, _, s = place
    column = x.stock.states.shape[1] + s - 1
    read = x.first[b, s] <= column < x.last[b, s]
    if s == 0 or x.given or x.detach or x.scan.restart[b, s] or not read:
        return APART
    return column


@device
def merge_start(share: Any, since: Any, weights: Any) -> None:
    """`w_t + g_t since_t` in the place of w."""
    for t in range(share.shape[0]):
        weights[t] += share[t] * since[t]


@device
def merge_start_backward(share: Any, since: Any, d_weights: Any, used: Any) -> None:
    """`since_t` times its gradient in `used`, from the gradient of the merged gate."""
    for t in range(share.shape[0]):
        used[t] = share[t] * since[t] * d_weights[t]
