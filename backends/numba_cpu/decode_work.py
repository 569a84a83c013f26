"""What decoding kernels work on: a token, the memory it finds, and scratch."""

from typing import Any, NamedTuple

import numpy as np


PANEL = 64
"""Contexts are kept as columns, so many in a panel: their logits are one product."""

RUN = 8
"""Checkpoints next to each other that are read by one product."""

LAW, FORM, KEYS, VALUES, WIDTH, CARRIES, MAPPED, DIVIDED = range(8)
SUMS, OUTSIDE, TOP_K, LOTS, SEED, WEIGHTS = range(8, 14)
PLAN = 14
"""Entries of `Memory.plan`: what the composition is, as integers.

    LAW, FORM                how a token is written; how checkpoints are read
    KEYS, VALUES, WIDTH      K, V, and numbers in a state's row
    CARRIES                  whether a segment goes on from the one before it
    MAPPED                   whether q and k pass through elu(x) + 1
    DIVIDED                  whether answers are divided by their last number, and not below a floor
    SUMS, OUTSIDE, TOP_K     the router's `pool: sum`, `online: outside`, `top_k` (0 for all)
    LOTS, SEED               whether the router draws lots, and their seed
    WEIGHTS                  of a readout without router
"""

WRITES, CORRECTS, REMOVES, REPEATS, EXPONENTIAL = range(5)
"""Laws of writing: rules that add, delta rules, rwkv7, swla, mlstm."""

ALONE, MIXED, EVERY = range(3)
"""Forms of reading: the online memory alone; one sum of all checkpoints; checkpoint by checkpoint."""

ROUTED, RESIDUAL, UNIFORM, FADING = range(4)
"""Weights of checkpoints: gates, ones, all the same, less and less with age."""

UNDIVIDED, PLAINLY, FLOORED = range(3)
"""What becomes of an answer."""

LENGTH, POSITION, COUNT, HEAD = range(4)
BOOKS = 4
"""Entries of `Memory.books`: tokens of the open segment and of the document, checkpoints held, slot
of the oldest. Slots are a ring once all are taken."""


class Token(NamedTuple):
    """One token of every row: inputs as they were given; those that a rule lacks have no elements.

    Attributes:
        q, k, u, v: (B, 1, H, K), v (B, 1, H, V).
        decay, beta, more: (B, 1, H) log-decay or forget gate; write strength or input gate; the
            write strength of the token before.
        decays, removal, strength: (B, 1, H, K) log-decays by channel; what rwkv7 removes.
        temperature: (H,).
    """

    q: Any
    k: Any
    v: Any
    u: Any
    decay: Any
    beta: Any
    more: Any
    decays: Any
    removal: Any
    strength: Any
    temperature: Any


class Memory(NamedTuple):
    """A memory and its cache. R rows of a state, P numbers in a row: `WIDTH` and zeros behind.

    Attributes:
        plan: (PLAN,) integers.
        reals: (3,) scale of logits, rate of a moving average, what skipping may cost (or -1).
        closes: (B,) whether the open segment ends after this token.
        books: (B, H, BOOKS) integers.
        online: (B, H, R, P).
        keys: (B, H, K) key sum of the open segment.
        codes: (B, H, slots, R, P) checkpoints as stored.
        scales: (B, H, slots, R) of integers, else empty.
        contexts: (B, H, slots / PANEL, K, PANEL).
        norms: (B, H, slots) float32 Frobenius norms, not below the true ones.
        floors: (B, H, slots) least denominators, or empty.
        total, mixture: (B, H, R, P) weighted sum of the checkpoints, in float64 and as it is read.
    """

    plan: Any
    reals: Any
    closes: Any
    books: Any
    online: Any
    keys: Any
    codes: Any
    scales: Any
    contexts: Any
    norms: Any
    floors: Any
    total: Any
    mixture: Any


class Work(NamedTuple):
    """Scratch of one thread.

    Attributes:
        q, k, u: (K,) of the token, as the memory sees them.
        decays, left, again: (K,) decay of each row; left sides of what is written.
        right, other: (P,) right sides.
        answer, y: (P,) of one memory, and the sum.
        logits: (slots,) logits, then gates.
        lots: (slots,) float64.
        weights: (RUN R,) of the rows of a run.
        best, scores, chosen: (top_k,) gates of the chosen, their scores (float64), their slots.
        skipped: (1,) float64 largest bound of what was left out, over heads and rows.
    """

    q: Any
    k: Any
    u: Any
    decays: Any
    left: Any
    again: Any
    right: Any
    other: Any
    answer: Any
    y: Any
    logits: Any
    lots: Any
    weights: Any
    best: Any
    scores: Any
    chosen: Any
    skipped: Any


def scratch(memory: Memory) -> Work:
    """Scratch for a memory."""
    dtype, (rows, padded) = memory.online.dtype, memory.online.shape[2:]
    slots, keys, top = memory.codes.shape[2], int(memory.plan[KEYS]), int(memory.plan[TOP_K])
    panels = -(-slots // PANEL) * PANEL
    shapes = [keys] * 6 + [padded] * 4 + [panels]
    arrays: list[Any] = [np.zeros(shape, dtype) for shape in shapes]
    arrays += [np.zeros(panels), np.zeros(RUN * rows, dtype), np.zeros(top, dtype)]
    arrays += [np.zeros(top), np.zeros(top, np.int64), np.zeros(1)]
    return Work(*arrays)


