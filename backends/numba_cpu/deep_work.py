"""What the kernels of deep memories work on: inputs, gradients, and one block of tokens.

A block is at most ROWS tokens of one chunk, so that one set of coefficients holds for all of it.
"""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.deep_answers import Query
from mcore.backends.numba_cpu.deep_coefficients import Coefficients
from mcore.backends.numba_cpu.deep_inner import Inner


class DeepInputs(NamedTuple):
    """Arrays of a scan; those without elements are not there.

    Attributes:
        q, k, v: (B, T, H, K).
        step, log_decay, momentum, delta: (B, T, H); momentum and delta if the rule has them.
        gates: (B, T, H) of the online memory, if not 1.
        extra: (B, T, H, E) what other memories say to q, if any.
        start: (H, 2 K, E) w_in over w_out^T.
        carry: (B, H, rows, E), or no elements if every row restarts.
        bounds, restart, offset: of `Segments`.
        loss: of `deep_error`.
        chunk: tokens whose gradients are taken at one memory.
    """

    q: Any
    k: Any
    v: Any
    step: Any
    log_decay: Any
    momentum: Any
    delta: Any
    gates: Any
    extra: Any
    start: Any
    carry: Any
    bounds: Any
    restart: Any
    offset: Any
    loss: int
    chunk: int


class DeepGradients(NamedTuple):
    """Gradients in the order and shapes of the first `DeepInputs`; start (B, H, 2 K, E)."""

    q: Any
    k: Any
    v: Any
    step: Any
    log_decay: Any
    momentum: Any
    delta: Any
    gates: Any
    extra: Any
    start: Any
    carry: Any


class Tokens(NamedTuple):
    """n tokens: q, k, v (n, K), k_t (K, n); decay = e^log_decay and the other numbers (n,)."""

    q: Any
    k: Any
    v: Any
    k_t: Any
    step: Any
    decay: Any
    momentum: Any
    delta: Any
    gate: Any


class Scratch(NamedTuple):
    """pairs, d_pairs (n, n); columns, keys_t (K, n); scaled, pushed (n, K); hidden (n, E) and
    hidden_t (E, n)."""

    pairs: Any
    d_pairs: Any
    columns: Any
    keys_t: Any
    scaled: Any
    pushed: Any
    hidden: Any
    hidden_t: Any


class Block(NamedTuple):
    """The work arrays of a block; `moves` says whether the rule has a momentum.

    Before they are cut to a block, tokens, inner and coefficients have a first axis: one place for
    each of several blocks.
    """

    tokens: Tokens
    inner: Inner
    coefficients: Coefficients
    query: Query
    scratch: Scratch
    moves: bool


class BlockGradient(NamedTuple):
    """Gradients of a block.

    Attributes:
        q, k, v, pull: (n, K).
        query, value, down: (n, E).
        step, log_decay, momentum, delta, gate: (n,).
        coefficients: of `Coefficients`.
    """

    q: Any
    k: Any
    v: Any
    pull: Any
    query: Any
    value: Any
    down: Any
    step: Any
    log_decay: Any
    momentum: Any
    delta: Any
    gate: Any
    coefficients: Any


def state_rows(x: DeepInputs) -> int:
    """Of a state (rows, E): the perceptron, its momentum, and what it was at the chunk's start."""
    copies = 1 + (x.momentum.size > 0) + (x.chunk > 1)
    return copies * x.start.shape[1]
