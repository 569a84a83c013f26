"""The blocks of a segment, and a block's work arrays cut to its length."""

from typing import Any

from mcore.backends.numba_cpu.blocks import load_rows, load_scalars
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.deep_answers import Query
from mcore.backends.numba_cpu.deep_coefficients import CoefficientGradient, Coefficients
from mcore.backends.numba_cpu.deep_inner import Inner
from mcore.backends.numba_cpu.deep_work import Block, BlockGradient, Scratch, Tokens
from mcore.backends.numba_cpu.elementwise import exp
from mcore.backends.numba_cpu.gemm import transpose


@device
def cut_segment(x: Any, b: int, s: int, rows: int, borders: Any) -> int:
    """Fill `borders` with the first token of each block and the end; returns how many blocks.

    Blocks end where chunks end, and have at most `rows` tokens.
    """
    t, last, count = x.bounds[b, s], x.bounds[b, s + 1], 0
    while t < last:
        borders[count] = t
        t = min(t + min(rows, x.chunk - position(x, b, s, t) % x.chunk), last)
        count += 1
    borders[count] = last
    return count


@device
def position(x: Any, b: int, s: int, t: int) -> int:
    """How many tokens of its segment come before token t."""
    return t - x.bounds[b, s] + (x.offset[b] if s == 0 else 0)


@device
def begins_chunk(x: Any, b: int, s: int, t: int) -> bool:
    """Whether token t of segment s is the first of its chunk."""
    return position(x, b, s, t) % x.chunk == 0


@device
def matrix(flat: Any, rows: int, columns: int) -> Any:
    """The first numbers of a vector as a contiguous matrix."""
    return flat[: rows * columns].reshape((rows, columns))


@device
def cut_block(block: Any, n: int, slot: int) -> Any:
    """The work arrays for n tokens; what is kept of several blocks, from place `slot`."""
    t, i, c, q, s = block.tokens, block.inner, block.coefficients, block.query, block.scratch
    keys, width = t.q.shape[2], i.value.shape[2]
    wide = width if s.hidden.size else 0
    tokens = Tokens(
        t.q[slot, :n], t.k[slot, :n], t.v[slot, :n], matrix(t.k_t[slot], keys, n),
        t.step[slot, :n], t.decay[slot, :n], t.momentum[slot, :n], t.delta[slot, :n],
        t.gate[slot, :n],
    )  # fmt: skip
    inner = Inner(
        i.value[slot, :n], i.slope[slot, :n], i.bend[slot, :n], i.down[slot, :n],
        matrix(i.value_t[slot], width, n), matrix(i.down_t[slot], wide, n), i.miss[slot, :n],
        i.pull[slot, :n], i.length[slot, :n],
    )  # fmt: skip
    coefficients = Coefficients(
        matrix(c.weights[slot], n, n + 2), matrix(c.momenta[slot], n, n + 2),
        matrix(c.pairs[slot], n, n), c.since[slot, :n], c.lifted[slot, :n], c.until[slot, :n],
        c.pushed[slot, :n],
    )  # fmt: skip
    query = Query(
        q.before[:n], q.value[:n], q.slope[:n], matrix(q.value_t, width, n),
        q.since[:n], q.lifted[:n], q.minus[:n],
    )  # fmt: skip
    some = n if wide else 0
    scratch = Scratch(
        matrix(s.pairs, n, n), matrix(s.d_pairs, some, n), matrix(s.columns, keys, n),
        matrix(s.keys_t, keys if wide else 0, n), s.scaled[:n], s.pushed[:n],
        s.hidden[:n], matrix(s.hidden_t, wide, n),
    )  # fmt: skip
    return Block(tokens, inner, coefficients, query, scratch, block.moves)


@device
def cut_gradient(out: Any, n: int) -> Any:
    """The gradients for n tokens."""
    d = out.coefficients
    coefficients = CoefficientGradient(
        matrix(d.pairs, n, n), d.since[:n], d.lifted[:n], d.until[:n], d.pushed[:n],
        d.row[: n + 2], d.moved[: n + 2], d.kept,
    )  # fmt: skip
    return BlockGradient(
        out.q[:n], out.k[:n], out.v[:n], out.pull[:n], out.query[:n], out.value[:n], out.down[:n],
        out.step[:n], out.log_decay[:n], out.momentum[:n], out.delta[:n], out.gate[:n],
        coefficients,
    )  # fmt: skip


@device
def load_block(x: Any, place: Any, tokens: Any) -> None:
    """The tokens at `place` = (b, h, begin, n)."""
    load_rows(x.q, place, tokens.q)
    load_rows(x.k, place, tokens.k)
    load_rows(x.v, place, tokens.v)
    transpose(tokens.k, tokens.k_t)
    load_scalars(x.step, place, tokens.step)
    load_scalars(x.log_decay, place, tokens.decay)
    for t in range(tokens.decay.shape[0]):
        tokens.decay[t] = exp(tokens.decay[t])
        tokens.momentum[t] = tokens.delta[t] = 0
        tokens.gate[t] = 1
    if x.momentum.size:
        load_scalars(x.momentum, place, tokens.momentum)
    if x.delta.size:
        load_scalars(x.delta, place, tokens.delta)
    if x.gates.size:
        load_scalars(x.gates, place, tokens.gate)
