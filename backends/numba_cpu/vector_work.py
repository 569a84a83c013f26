"""What kernels of vector memories work on: inputs, what forward keeps, one thread's work arrays.

A task is one head of a block of rows, which take each token together, so that `h U` is one product;
each row is cut where it likes. Blocks depend on the numbers of rows and heads, never on that of
threads, and so does the order of every sum.

Per token and head, the rows of a block are neighbours in memory: gates, and what else backward
needs, are planes (rows, V), on which activations run as on one long vector.
"""

from typing import Any, NamedTuple

import numpy as np

FEWEST, MOST = 8, 16
"""Rows of a block: enough to use a product's tiles and to read U seldom, few enough for tasks."""

LSTM, GRU, SLSTM = range(3)
CODES = {"lstm": LSTM, "gru": GRU, "slstm": SLSTM}
"""Rules whose equations the kernels know, as they tell them apart."""

KEPT = {LSTM: 5, GRU: 4, SLSTM: 7}
"""Planes that forward keeps: the gates, then what the rule's file says."""

WORKED = {LSTM: 4, GRU: 4, SLSTM: 6}
"""Planes that a token's backward fills: gradients of `h U`, gate by gate, then others."""


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
    """

    code: int
    x: Any
    recurrent: Any
    bias: Any
    carry: Any
    bounds: Any
    restart: Any


class VectorKept(NamedTuple):
    """What forward keeps.

    Attributes:
        before: (B, T, H, V) h before each token.
        planes: (H, T, planes, B, V).
        flat: the same memory as (H, T, planes, B V).
    """

    before: Any
    planes: Any
    flat: Any


class VectorGradients(NamedTuple):
    """Gradients.

    Attributes:
        x: (B, T, H, N).
        inner: (B, T, H, V) of what a GRU's reset multiplies, or no elements.
        bias: (blocks, H, V), to be added in order, or no elements.
        carry: (B, H, n, V), or no elements.
    """

    x: Any
    inner: Any
    bias: Any
    carry: Any


class VectorWork(NamedTuple):
    """Work arrays of forward.

    Attributes:
        state: (n, rows, V), h first.
        flat: the same memory as (1, 1, n, rows V).
        panels: U gate by gate, cut into panels of columns; none where that does not pay.
        product: (N,) `h U` of one row.
        cursor: (rows,) the segment of each row.
    """

    state: Any
    flat: Any
    panels: Any
    product: Any
    cursor: Any


class BackwardWork(NamedTuple):
    """Work arrays of backward.

    Attributes:
        state: (n, rows, V) gradient of the state.
        flat: the same memory as (1, 1, n, rows V).
        planes: (planes, rows, V) see `WORKED`.
        long: the same memory as (1, 1, planes, rows V).
        before: (rows V,) h before the token.
        panels: U^T, cut into panels of columns.
        cursor: (rows,) the segment of each row.
    """

    state: Any
    flat: Any
    planes: Any
    long: Any
    before: Any
    panels: Any
    cursor: Any


def block_count(rows: int, heads: int) -> int:
    """Blocks that rows are shared out to, evenly: few, unless that leaves fewer than four tasks."""
    return -(-rows // min(MOST, max(FEWEST, rows * heads // 4)))


def keep(x: VectorInputs) -> VectorKept:
    """Room for what forward keeps."""
    rows, tokens, heads, _ = x.x.shape
    width, dtype = x.recurrent.shape[1], x.x.dtype
    planes = np.empty((heads, tokens, KEPT[x.code], rows, width), dtype)
    before = np.empty((rows, tokens, heads, width), dtype)
    return VectorKept(before, planes, planes.reshape(*planes.shape[:3], -1))


def forward_work(x: VectorInputs) -> VectorWork:
    """Work arrays of one thread."""
    rows, width, vectors = _sizes(x)
    columns, dtype = x.recurrent.shape[2], x.x.dtype
    wide = panel_width(width)
    packed = rows * x.x.shape[1] >= _WORTH_PACKING
    number = columns // width * -(-width // wide) if packed else 0
    state = np.empty((vectors, rows, width), dtype)
    return VectorWork(
        state,
        state.reshape(1, 1, vectors, -1),
        np.empty((number, width, wide), dtype),
        np.empty(columns, dtype),
        np.empty(rows, np.int64),
    )


def backward_work(x: VectorInputs) -> BackwardWork:
    """Work arrays of one thread."""
    rows, width, vectors = _sizes(x)
    dtype, wide = x.x.dtype, panel_width(width)
    state = np.empty((vectors, rows, width), dtype)
    planes = np.empty((WORKED[x.code], rows, width), dtype)
    return BackwardWork(
        state,
        state.reshape(1, 1, vectors, -1),
        planes,
        planes.reshape(1, 1, len(planes), -1),
        np.empty(rows * width, dtype),
        np.empty((-(-width // wide), x.recurrent.shape[2], wide), dtype),
        np.empty(rows, np.int64),
    )


_WORTH_PACKING = 32
"""Tokens of all rows of a block: for fewer, packing U takes longer than it saves."""

_VECTORS = {LSTM: 2, GRU: 1, SLSTM: 4}
"""Those of a state."""


def panel_width(width: int) -> int:
    """Columns of a panel: narrow ones stream best, but small matrices need not be cut."""
    return width if width <= 64 else 32


def _sizes(x: VectorInputs) -> tuple[int, int, int]:
    """Rows of the largest block, V, and the number of vectors in a state."""
    rows = x.x.shape[0]
    return -(-rows // block_count(rows, x.x.shape[2])), x.recurrent.shape[1], _VECTORS[x.code]
