"""A token of Moneta, in place: W is never put together, for its entries are cubes of A's.

    W = c u^3,   u = A / L,   c = L / sqrt(sum u^4)         for each matrix

L is a power of two near A's largest entry, so that the same W follows from any L. It is chosen anew
where the sum leaves `_SAFE`; `factors` are 1 / L and c of both matrices, 0 where nothing is known.
"""

import math
from typing import Any

from mcore.backends.numba_cpu import decode_work as at
from mcore.backends.numba_cpu.caching import device, kernel
from mcore.backends.numba_cpu.decode_codes import clear
from mcore.backends.numba_cpu.decode_cubes import (
    cubes_times,
    descend_row,
    excite_cubes,
    fourth_power,
    scale_by,
    turn_row,
)
from mcore.backends.numba_cpu.decode_deep_work import BEFORE, DOWN, HIDDEN, SLOPE
from mcore.backends.numba_cpu.gelu_vector import gelu_slope
from mcore.backends.numba_cpu.matvec import largest
from mcore.backends.numba_cpu.mirror_image import NOTHING

_SAFE = (1e-8, 1e8)
"""Sums of u^4 at which all entries that count have cubes that are numbers."""

INVERSE, SCALE = 0, 2
"""Where in `factors` those of w_in are; those of w_out are next."""


@kernel
def settle_kernel(memory: Any) -> None:
    """W where states have it, in all memories."""
    for b in range(memory.books.shape[0]):
        for h in range(memory.books.shape[1]):
            settle((b, h), memory)


@device
def settle(place: Any, memory: Any) -> None:
    """W where states have it."""
    state, factors, keys = memory.online[place], memory.factors[place], memory.plan[at.KEYS]
    ensure_measured(state, factors, keys)
    for i in range(2 * keys):
        inverse, scale = factors[INVERSE + i // keys], factors[SCALE + i // keys]
        weights, row = state[i], state[2 * keys + i]
        for e in range(row.shape[0]):
            u = row[e] * inverse
            weights[e] = scale * (u * u * u)


@device
def ensure_measured(state: Any, factors: Any, keys: int) -> None:
    """Find the factors of both matrices, where they are not known."""
    for m in range(2):
        if factors[INVERSE + m] == 0:
            measure(state, (2 + m) * keys, factors, m)


@device
def measure(state: Any, first: int, factors: Any, m: int) -> None:
    """Find the factors of matrix m of A, the rows of `state` from `first` on."""
    keys = state.shape[0] // 4
    top = largest(state[first])
    for i in range(1, keys):
        top = max(top, largest(state[first + i]))
    factors[INVERSE + m] = math.ldexp(1.0, -math.frexp(top)[1]) if top > NOTHING else 1.0
    total, inverse = state.dtype.type(0), factors[INVERSE + m]
    for i in range(keys):
        total += fourth_power(state[first + i], inverse)
    factors[SCALE + m] = 1 / (inverse * math.sqrt(total)) if total > 0 else 0


@device
def _rescale(state: Any, first: int, factors: Any, m: int, total: Any) -> None:
    """The factors of matrix m after a token, `total` being the sum of u^4."""
    if _SAFE[0] < total < _SAFE[1]:
        factors[SCALE + m] = 1 / (factors[INVERSE + m] * math.sqrt(total))
    else:
        measure(state, first, factors, m)


@device
def write_moneta(token: Any, place: Any, memory: Any, work: Any) -> None:
    """A after a token, and what the query excites."""
    b, h = place
    state, factors, scratch = memory.online[b, h], memory.factors[b, h], token.scratch[b, h]
    keys, rates = work.q.shape[0], (work.decays[0], token.step[b, 0, h])
    source = state[2 * keys : 3 * keys]
    ensure_measured(state, factors, keys)
    excite_cubes(source, work.k, factors[INVERSE], scratch[BEFORE])
    scale_by(scratch[BEFORE], factors[SCALE])
    gelu_slope(scratch[BEFORE], scratch[HIDDEN], scratch[SLOPE])
    cubes_times(state[3 * keys :], factors[INVERSE + 1], scratch[HIDDEN], work.again)
    _find_force(token.v[b, 0, h], factors[SCALE + 1], work)
    total = _descend_out(state[3 * keys :], rates, factors, work.again, scratch)
    _rescale(state, 3 * keys, factors, 1, total)
    down, slope = scratch[DOWN], scratch[SLOPE]
    for e in range(down.shape[0]):
        down[e] *= slope[e]
    total = _descend_in(source, rates, factors[INVERSE], (work.k, work.q), scratch)
    inverse = factors[INVERSE]
    _rescale(state, 2 * keys, factors, 0, total)
    if factors[INVERSE] != inverse:
        excite_cubes(source, work.q, factors[INVERSE], scratch[BEFORE])
    scale_by(scratch[BEFORE], factors[SCALE])


@device
def reply_moneta(token: Any, place: Any, memory: Any, work: Any) -> None:
    """What W adds to the query, in `work.answer`."""
    factors, keys = memory.factors[place], work.q.shape[0]
    source, said = memory.online[place][3 * keys :], work.answer[:keys]
    cubes_times(source, factors[INVERSE + 1], token.scratch[place][HIDDEN], said)
    scale_by(said, factors[SCALE + 1])


@device
def _find_force(v: Any, scale: Any, work: Any) -> None:
    """`3 e |e|` with `e = k + c said - v`, in place of what was said."""
    for i in range(v.shape[0]):
        error = work.k[i] + scale * work.again[i] - v[i]
        work.again[i] = 3 * error * abs(error)


@device
def _descend_out(source: Any, rates: Any, factors: Any, force: Any, scratch: Any) -> Any:
    """A_out after a token, `down = W_out force` before it; returns its sum of u^4."""
    (decay, step), (hidden, down) = rates, (scratch[HIDDEN], scratch[DOWN])
    inverse, scale = factors[INVERSE + 1], factors[SCALE + 1]
    clear(down)
    total = inverse * 0
    for i in range(force.shape[0]):
        ways = decay, step * force[i], inverse, scale * force[i]
        total += descend_row(source[i], ways, hidden, down)
    return total


@device
def _descend_in(source: Any, rates: Any, inverse: Any, pair: Any, scratch: Any) -> Any:
    """A_in after a token of `pair` = (k, q), and `before = (u^3)^T q`; returns its sum of u^4."""
    (decay, step), (k, q) = rates, pair
    before, down = scratch[BEFORE], scratch[DOWN]
    clear(before)
    total = inverse * 0
    for i in range(k.shape[0]):
        total += turn_row(source[i], (decay, step * k[i], inverse, q[i]), down, before)
    return total
