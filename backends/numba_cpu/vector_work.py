"""What kernels of vector memories work on: inputs, and the work arrays of one thread.

A task is one head of a block of rows that are cut alike: its rows take each token together, so that
`h U` is one product. Blocks depend on the cuts alone, never on the number of threads.
"""

from typing import Any, NamedTuple

import numpy as np

from mcore.arrays import Array
from mcore.backends.numba_cpu.caching import device
from mcore.segments import Segments

BLOCK = 16
"""Most rows of a block: enough to use a product's tiles, few enough for blocks to share out."""

LSTM, GRU, SLSTM = range(3)
CODES = {"lstm": LSTM, "gru": GRU, "slstm": SLSTM}
"""Rules whose equations the kernels know, as they tell them apart."""


class VectorInputs(NamedTuple):
    """Arrays of a scan.

    Attributes:
        code: which rule.
        x: (B, T, H, N) with N = G V.
        recurrent: (H, V, N).
        bias: (H, V) of a GRU's candidate, or no elements.
        carry: (B, H, n, V) states, h first, or no elements if every row restarts.
        bounds: (B, S+1) int64.
        restart: (B, S) bool.
        blocks: (blocks, 2) first row and end of each block.
    """

    code: int
    x: Any
    recurrent: Any
    bias: Any
    carry: Any
    bounds: Any
    restart: Any
    blocks: Any


class VectorGradients(NamedTuple):
    """Gradients: those of parameters are per block, (blocks, H, ...), to be added in order."""

    x: Any
    recurrent: Any
    bias: Any
    carry: Any


class VectorWork(NamedTuple):
    """Work arrays of forward.

    Attributes:
        h: (rows, V).
        others: (rows, E, V) the rest of the state, or what else backward needs.
        gates: (rows, N).
    """

    h: Any
    others: Any
    gates: Any


class BackwardWork(NamedTuple):
    """Work arrays of backward: entry `i rows + r` belongs to token i of a segment in row r.

    Attributes:
        h: (tokens rows, V) h before each token.
        others: ((tokens + 1) rows, E, V) those before the first and after each token.
        gates: (tokens rows, N) gates, then gradients of `h U`.
        d_h, d_others: (rows, V), (rows, E, V).
        transposed: (N, V) U^T.
    """

    h: Any
    others: Any
    gates: Any
    d_h: Any
    d_others: Any
    transposed: Any


def row_blocks(segments: Segments) -> Array:
    """(blocks, 2): neighbouring rows, at most BLOCK, that are cut and restart alike."""
    blocks: list[list[int]] = []
    for row in range(segments.rows):
        if blocks and row - blocks[-1][0] < BLOCK and _alike(segments, blocks[-1][0], row):
            blocks[-1][1] = row + 1
        else:
            blocks.append([row, row + 1])
    return np.array(blocks, np.int64)


def _alike(segments: Segments, a: int, b: int) -> bool:
    bounds, restart = segments.bounds, segments.restart
    return bool((bounds[a] == bounds[b]).all() and (restart[a] == restart[b]).all())


def forward_work(x: VectorInputs) -> VectorWork:
    """Work arrays of one thread."""
    rows, width, others = _sizes(x)
    dtype = x.x.dtype
    return VectorWork(
        np.zeros((rows, width), dtype),
        np.zeros((rows, others, width), dtype),
        np.empty((rows, x.x.shape[3]), dtype),
    )


def backward_work(x: VectorInputs) -> BackwardWork:
    """Work arrays of one thread."""
    rows, width, others = _sizes(x)
    gates, dtype = x.x.shape[3], x.x.dtype
    longest = int(np.diff(x.bounds, axis=1).max())
    return BackwardWork(
        np.empty((longest * rows, width), dtype),
        np.empty(((longest + 1) * rows, others, width), dtype),
        np.empty((longest * rows, gates), dtype),
        np.empty((rows, width), dtype),
        np.empty((rows, others, width), dtype),
        np.empty((gates, width), dtype),
    )


def _sizes(x: VectorInputs) -> tuple[int, int, int]:
    """Rows of the largest block, V, and E."""
    return int(np.diff(x.blocks).max()), x.recurrent.shape[1], OTHERS[x.code]


OTHERS = {LSTM: 1, GRU: 1, SLSTM: 4}
"""E: vectors that are kept for each token beside h and the gates."""


@device
def load_state(source: Any, b: int, h: int, r: int, work: Any) -> None:
    """Row b of states (B, H, n, V) into row r of the work arrays."""
    for j in range(work.h.shape[1]):
        work.h[r, j] = source[b, h, 0, j]
        for e in range(source.shape[2] - 1):
            work.others[r, e, j] = source[b, h, e + 1, j]


@device
def clear_state(r: int, work: Any) -> None:
    """Row r of the work arrays is zero."""
    for j in range(work.h.shape[1]):
        work.h[r, j] = 0
        for e in range(work.others.shape[1]):
            work.others[r, e, j] = 0


@device
def segment_start(x: Any, checkpoints: Any, place: Any, work: Any) -> bool:
    """Put the state with which segment s of each row starts into `work`; is it zero?

    `place` is (first row, end, h, s).
    """
    begin, end, h, s = place
    fresh = x.restart[begin, s]
    for b in range(begin, end):
        if fresh:
            clear_state(b - begin, work)
        elif s > 0:
            load_state(checkpoints[:, s - 1], b, h, b - begin, work)
        else:
            load_state(x.carry, b, h, b - begin, work)
    return fresh
