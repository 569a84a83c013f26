"""What scan kernels work on: inputs, gradients, and the work arrays of one thread."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS, clear, copy, load_rows, load_scalars
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.chunk import Chunk, ChunkGradient, Scratch
from mcore.backends.numba_cpu.decay import DecayGradient, no_decay, set_decay
from mcore.backends.numba_cpu.gemm import transpose


class ScanInputs(NamedTuple):
    """Arrays of a scan; `log_decay` and `beta` have no elements where the rule has none.

    Attributes:
        q, k, v: (B, T, H, K), (B, T, H, K), (B, T, H, V).
        log_decay, beta: (B, T, H).
        carry: (B, H, K, V), or no elements if every row restarts.
        bounds: (B, S+1) int64.
        restart: (B, S) bool.
    """

    q: Any
    k: Any
    v: Any
    log_decay: Any
    beta: Any
    carry: Any
    bounds: Any
    restart: Any


class ScanGradients(NamedTuple):
    """Gradients in the order and shapes of the first six `ScanInputs`."""

    q: Any
    k: Any
    v: Any
    log_decay: Any
    beta: Any
    carry: Any


class Work(NamedTuple):
    """Work arrays of forward: a chunk, scratch, answers y and errors (n, V), the state (K, V)."""

    chunk: Any
    scratch: Any
    y: Any
    errors: Any
    state: Any


class BackwardWork(NamedTuple):
    """Work arrays of backward, and the replayed segment.

    Attributes:
        chunk, scratch: as in `Work`.
        dy: (n, V).
        out: gradients of the chunk.
        d_state: (K, V).
        states: (chunks, K, V) the state before each chunk of the segment.
        written, errors: (chunks, n, V) what delta rules wrote, and their errors.
    """

    chunk: Any
    scratch: Any
    dy: Any
    out: Any
    d_state: Any
    states: Any
    written: Any
    errors: Any


def forward_work(x: ScanInputs) -> Work:
    """Work arrays of one thread."""
    chunk, scratch, values, state = _chunk_work(x, _rows_per_chunk(_longest(x)))
    return Work(chunk, scratch, np.empty_like(values), np.empty_like(values), state)


def backward_work(x: ScanInputs) -> BackwardWork:
    """Work arrays of one thread."""
    longest = _longest(x)
    rows = _rows_per_chunk(longest)
    chunk, scratch, values, state = _chunk_work(x, rows)
    vector = np.empty_like(chunk.beta)
    used = DecayGradient(np.empty_like(scratch.pairs), vector.copy(), vector.copy())
    out = ChunkGradient(
        np.empty_like(chunk.q),
        np.empty_like(chunk.q),
        np.empty_like(chunk.v),
        vector.copy(),
        vector.copy(),
        used,
    )
    chunks = -(-longest // rows)
    states = np.empty((chunks, *state.shape), state.dtype)
    kept = np.empty((2, chunks if x.beta.size else 0, *values.shape), values.dtype)
    return BackwardWork(chunk, scratch, np.empty_like(values), out, state, states, *kept)


def _longest(x: ScanInputs) -> int:
    return int(np.diff(x.bounds, axis=1).max())


def _rows_per_chunk(longest: int) -> int:
    """Tokens of a chunk: at most ROWS, and chunks of the longest segment equally long."""
    chunks = -(-longest // ROWS)
    return -(-longest // chunks)


def _chunk_work(x: ScanInputs, rows: int) -> tuple[Chunk, Scratch, Any, Any]:
    keys, values, dtype = x.q.shape[3], x.v.shape[3], x.q.dtype

    def empty(*shape: int) -> Any:
        return np.empty(shape, dtype)

    block, value_block = empty(rows, keys), empty(rows, values)
    chunk = Chunk(
        block, empty(rows, keys), empty(keys, rows), value_block,
        empty(rows), empty(rows), no_decay(rows, dtype),
    )  # fmt: skip
    scratch = Scratch(
        empty(rows, rows), empty(rows, rows), empty(rows, rows), empty(rows, keys),
        empty(rows, keys), empty(rows, values), empty(values, rows), empty(values, keys),
        np.empty(rows),
    )  # fmt: skip
    return chunk, scratch, value_block, empty(keys, values)


@device
def load_chunk(x: Any, place: Any, chunk: Any, scratch: Any) -> None:
    """The tokens at `place` = (b, h, begin, n), and their decay factors."""
    load_rows(x.q, place, chunk.q)
    load_rows(x.k, place, chunk.k)
    load_rows(x.v, place, chunk.v)
    transpose(chunk.k, chunk.k_t)
    if x.beta.size:
        load_scalars(x.beta, place, chunk.beta)
    if x.log_decay.size:
        load_scalars(x.log_decay, place, chunk.log_decay)
        set_decay(chunk.log_decay, scratch.sums, chunk.decay)


@device
def segment_start(x: Any, checkpoints: Any, place: Any, state: Any) -> bool:
    """Put the memory with which segment `place` = (b, h, s) starts into `state`; is it zero?"""
    b, h, s = place
    fresh = x.restart[b, s]
    if fresh:
        clear(state)
    elif s > 0:
        copy(checkpoints[b, s - 1, h], state)
    else:
        copy(x.carry[b, h], state)
    return fresh
