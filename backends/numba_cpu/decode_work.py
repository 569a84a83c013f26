"""What decoding kernels work on: a token, the memory it finds, and scratch."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import borrowed

PANEL = 64
"""Contexts are kept as columns, so many in a panel: their logits are one product."""

LAW, FORM, KEYS, VALUES, WIDTH, CARRIES, MAPPED, DIVIDED = range(8)
SUMS, OUTSIDE, TOP_K, LOTS, SEED, WEIGHTS, ASKED, CHUNK = range(8, 16)
PLAN = 16
"""Entries of `Memory.plan`: what the composition is, as integers.

    LAW, FORM                how a token is written; how checkpoints are read
    KEYS, VALUES, WIDTH      K, V, and numbers in a state's row
    CARRIES                  whether a segment goes on from the one before it
    MAPPED                   whether q and k pass through elu(x) + 1
    DIVIDED                  whether answers are divided by their last number, and not below a floor
    SUMS, OUTSIDE, TOP_K     the router's `pool: sum`, `online: outside`, `top_k` (0 for all)
    LOTS, SEED               whether the router draws lots, and their seed
    WEIGHTS                  of a readout without router
    ASKED                    rows of a state that a query meets: K, or h alone of a vector memory
    CHUNK                    tokens whose gradients a deep memory takes at the same weights
"""

WRITES, CORRECTS, REMOVES, REPEATS, EXPONENTIAL, LSTM, GRU, SLSTM = range(8)
DLA, TITANS, YAAD, MONETA, MEMORA = range(8, 13)
"""Laws of writing: rules that add, delta rules, rwkv7, swla, mlstm; vector memories; deep ones."""

ALONE, MIXED, EVERY, GATED, SOUP = range(5)
"""Forms of reading: the online memory alone; one sum of all checkpoints; each by itself; each with
gates that its answer makes; perceptrons mixed before they are read."""

ROUTED, RESIDUAL, UNIFORM, FADING = range(4)
"""Weights of checkpoints: gates, ones, all the same, less and less with age."""

UNDIVIDED, PLAINLY, FLOORED = range(3)
"""What becomes of an answer."""

LENGTH, POSITION, COUNT, HEAD = range(4)
BOOKS = 4
"""Entries of `Memory.books`: tokens of the open segment and of the document, checkpoints held, slot
of the oldest. Slots are a ring once all are taken."""


FACTORS = 4
"""Numbers that Moneta's weights follow from; see `decode_moneta`."""


GATED_ROWS = 16
"""Checkpoints whose gates are one product, in the form `GATED`."""


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


class VectorToken(NamedTuple):
    """One token of every row for a vector memory, and scratch.

    Attributes:
        k, u: (B, 1, H, K), of routed readouts.
        temperature: (H,).
        x: (B, 1, H, G V) pre-activations.
        recurrent, bias: (H, V, G V), (H, V) what the vector before adds to them.
        sums: (B, H, G V) scratch: what it adds.
        planes: (B, H, planes, V) scratch: gates.
    """

    k: Any
    u: Any
    temperature: Any
    x: Any
    recurrent: Any
    bias: Any
    sums: Any
    planes: Any


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
        used: (B, H, slots) gates that checkpoints received, where it decides which goes, or empty.
        factors: (B, H, 4) of Moneta, see `decode_moneta`; else (B, H, 0).
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
    used: Any
    factors: Any


class Space(NamedTuple):
    """Scratch of one thread: few arrays, for each costs time in a call. See `Work`."""

    numbers: Any
    doubles: Any
    integers: Any


class Work(NamedTuple):
    """Scratch of one thread, laid out.

    Attributes:
        q, k, u: (K,) of the token, as the memory sees them; q (1,) of a vector memory.
        decays, left, again: (K,) decay of each row; left sides of what is written.
        right, other: (P,) right sides; P or V, whichever is more.
        answer, y: likewise, of one memory, and the sum.
        one: (1,) the number 1.
        best, scores, chosen: (top_k,), at least 1, gates of the chosen, scores (float64), slots.
        logits: (slots,) logits, then gates.
        lots: (slots,) float64.
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
    one: Any
    best: Any
    logits: Any
    lots: Any
    scores: Any
    skipped: Any
    chosen: Any


def space(memory: Memory) -> Space:
    """Scratch for a memory."""
    dtype, padded = memory.online.dtype, max(memory.online.shape[3], int(memory.plan[VALUES]))
    keys, top = int(max(memory.plan[[KEYS, ASKED]])), max(int(memory.plan[TOP_K]), 1)
    panels = -(-memory.codes.shape[2] // PANEL) * PANEL
    gated = (1 + 2 * GATED_ROWS) * padded if memory.plan[FORM] == GATED else 0
    numbers = np.zeros(1 + top + 6 * _lines(keys) + 4 * padded + panels + gated, dtype)
    numbers[0] = 1
    return Space(numbers, np.zeros(1 + top + panels), np.zeros(top, np.int64))


def _lines(keys: int) -> int:
    return -(-keys // PANEL) * PANEL


@device
def borrowed_token(inputs: Any) -> Any:
    """The entries of a `Token`, uncounted."""
    q, k, v, u, decay, beta, more, decays, removal, strength, temperature = inputs
    return Token(
        borrowed(q),
        borrowed(k),
        borrowed(v),
        borrowed(u),
        borrowed(decay),
        borrowed(beta),
        borrowed(more),
        borrowed(decays),
        borrowed(removal),
        borrowed(strength),
        borrowed(temperature),
    )


@device
def borrowed_vector_token(inputs: Any) -> Any:
    """The entries of a `VectorToken`, uncounted."""
    k, u, temperature, x, recurrent, bias, sums, planes = inputs
    return VectorToken(
        borrowed(k),
        borrowed(u),
        borrowed(temperature),
        borrowed(x),
        borrowed(recurrent),
        borrowed(bias),
        borrowed(sums),
        borrowed(planes),
    )


@device
def borrowed_memory(x: Any) -> Any:
    """A `Memory`, uncounted."""
    return Memory(
        borrowed(x.plan),
        borrowed(x.reals),
        borrowed(x.closes),
        borrowed(x.books),
        borrowed(x.online),
        borrowed(x.keys),
        borrowed(x.codes),
        borrowed(x.scales),
        borrowed(x.contexts),
        borrowed(x.norms),
        borrowed(x.floors),
        borrowed(x.total),
        borrowed(x.mixture),
        borrowed(x.used),
        borrowed(x.factors),
    )


@device
def work_of(space: Any, memory: Any) -> Any:
    """The parts of `space`, uncounted."""
    keys, asked, top = memory.plan[KEYS], memory.plan[ASKED], max(memory.plan[TOP_K], 1)
    line = (max(keys, asked) + PANEL - 1) // PANEL * PANEL
    padded = max(memory.online.shape[3], memory.plan[VALUES])
    numbers, doubles = borrowed(space.numbers), borrowed(space.doubles)
    x = numbers[1 + top :]
    y = x[6 * line :]
    return Work(
        x[:asked],
        x[line : line + keys],
        x[2 * line : 2 * line + keys],
        x[3 * line : 3 * line + keys],
        x[4 * line : 4 * line + keys],
        x[5 * line : 5 * line + keys],
        y[:padded],
        y[padded : 2 * padded],
        y[2 * padded : 3 * padded],
        y[3 * padded : 4 * padded],
        numbers[:1],
        numbers[1 : 1 + top],
        y[4 * padded :],
        doubles[1 + top :],
        doubles[1 : 1 + top],
        doubles[:1],
        borrowed(space.integers),
    )
