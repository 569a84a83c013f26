"""Memory for one block of a deep memory's kernels, as large as the largest block."""

from typing import Any, NamedTuple

import numpy as np

from mcore.backends.numba_cpu.blocks import ROWS
from mcore.backends.numba_cpu.deep_answers import Query
from mcore.backends.numba_cpu.deep_coefficients import CoefficientGradient, Coefficients
from mcore.backends.numba_cpu.deep_inner import Inner
from mcore.backends.numba_cpu.deep_work import Block, BlockGradient, DeepInputs, Scratch, Tokens


class Shape(NamedTuple):
    """n tokens, K, E, the dtype, and whether there is a gradient to come."""

    n: int
    keys: int
    width: int
    dtype: Any
    backward: bool

    def empty(self, *shape: int) -> Any:
        """An array of these lengths."""
        return np.empty(shape, self.dtype)

    def if_backward(self, *shape: int) -> Any:
        """The same, or no elements: the last length is 0."""
        return self.empty(*(shape if self.backward else (*shape[:-1], 0)))


def shape_of(x: DeepInputs, backward: bool) -> Shape:
    """Sizes of the largest block."""
    longest = int(np.diff(x.bounds, axis=1).max())
    n = max(1, min(x.chunk, ROWS, longest))
    return Shape(n, x.q.shape[3], x.start.shape[2], x.q.dtype, backward)


def new_block(x: DeepInputs, shape: Shape, slots: int) -> Block:
    """Arrays for blocks of up to n tokens; those with n columns as vectors, to be cut to size.

    Tokens, inner gradients and coefficients have room for those of `slots` blocks.
    """
    inner, moves = _inner(shape, slots), x.momentum.size > 0
    tokens, coefficients = _tokens(shape, slots), _coefficients(shape, slots)
    return Block(tokens, inner, coefficients, _query(shape, inner), _scratch(shape), moves)


def new_gradient(shape: Shape) -> BlockGradient:
    """Arrays for the gradients of blocks of up to n tokens."""
    n, keys, width, empty = shape.n, shape.keys, shape.width, shape.empty
    since, lifted, until, pushed = _vectors(shape, 4)
    coefficients = CoefficientGradient(
        empty(n * n), since, lifted, until, pushed, empty(n + 2), empty(n + 2), empty(1)
    )
    q, k, v, pull = (empty(n, keys) for _ in range(4))
    query, value, down = (empty(n, width) for _ in range(3))
    step, log_decay, momentum, delta, gate = _vectors(shape, 5)
    return BlockGradient(
        q, k, v, pull, query, value, down, step, log_decay, momentum, delta, gate, coefficients
    )


def _tokens(shape: Shape, slots: int) -> Tokens:
    n, keys, empty = shape.n, shape.keys, shape.empty
    q, k, v = (empty(slots, n, keys) for _ in range(3))
    step, decay, momentum, delta, gate = (empty(slots, n) for _ in range(5))
    return Tokens(q, k, v, empty(slots, keys * n), step, decay, momentum, delta, gate)


def _inner(shape: Shape, slots: int) -> Inner:
    n, keys, width, empty = shape.n, shape.keys, shape.width, shape.empty
    value, slope, down = (empty(slots, n, width) for _ in range(3))
    bend, down_t = shape.if_backward(slots, n, width), shape.if_backward(slots, width * n)
    miss, pull = empty(slots, n, keys), empty(slots, n, keys)
    value_t, length = empty(slots, width * n), empty(slots, n)
    return Inner(value, slope, bend, down, value_t, down_t, miss, pull, length)


def _query(shape: Shape, inner: Inner) -> Query:
    n, width, empty = shape.n, shape.width, shape.empty
    # Forward is done with gelu's slope before it needs the queries' hidden vectors.
    before, value = empty(n, width) if shape.backward else inner.slope[0], empty(n, width)
    since, lifted, minus = _vectors(shape, 3)
    slope, value_t = shape.if_backward(n, width), empty(width * n)
    return Query(before, value, slope, value_t, since, lifted, minus)


def _scratch(shape: Shape) -> Scratch:
    n, keys, width, empty = shape.n, shape.keys, shape.width, shape.empty
    return Scratch(
        empty(n * n), shape.if_backward(n * n), empty(keys * n), shape.if_backward(keys * n),
        empty(n, keys), empty(n, keys), shape.if_backward(n, width),
        shape.if_backward(width * n),
    )  # fmt: skip


def _coefficients(shape: Shape, slots: int) -> Coefficients:
    n, empty = shape.n, shape.empty
    weights, momenta = (empty(slots, n * (n + 2)) for _ in range(2))
    since, lifted, until, pushed = (empty(slots, n) for _ in range(4))
    return Coefficients(weights, momenta, empty(slots, n * n), since, lifted, until, pushed)


def _vectors(shape: Shape, count: int) -> list[Any]:
    return [shape.empty(shape.n) for _ in range(count)]
