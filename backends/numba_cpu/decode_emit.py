"""Emit, as LLVM IR, what matrices that are stored in few bytes answer to a query.

    y += sum_n g_n (q * s_n) C_n      C_n (rows, width) of codes, q (rows,), s_n (rows,), y (width,)

Each code is widened in registers (`decode_widen`): matrices are gone through once, as they are
stored. Only integers have scales. Where two codes share a lane, sums of even and of odd columns are
put in order at the end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from mcore.backends.numba_cpu.decode_widen import Widening
from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined

PAD = 16
"""Widths are multiples of this: whole vectors of every element type on every host."""

_PANELS = ((8, 1), (4, 2), (1, 4))
"""Vectors of a panel of columns, and rows at once: enough sums to hide a multiply-add's delay."""

WIDE = 16
"""Vectors of a panel on hosts with 64-byte vectors, of which they have 32. Rows of 256 numbers are
then gone through as they lie in memory: the processor asks for what comes next."""


@dataclass(frozen=True)
class Stack:
    """Matrices one after another, and what they are asked.

    Attributes:
        codes: where the first row of the first one is.
        count, tall: how many matrices, and rows from one to the next.
        rows, width: of each, as far as they are used; the width is a multiple of `PAD`.
        gates, q, scales, y: as in the equation.
    """

    codes: Any
    count: Any
    tall: Any
    rows: Any
    width: Any
    gates: Any
    q: Any
    scales: Any
    y: Any


@dataclass(frozen=True)
class Stripe:
    """A panel of columns of them.

    Attributes:
        stack: the matrices.
        column: the first column, as an offset in bytes.
        vectors: of numbers; `count` of them in a row.
        fused: whether the host has a fused multiply-add.
        widening: of the codes.
    """

    stack: Stack
    column: Any
    vectors: Vectors
    count: int
    fused: bool
    widening: Widening

    @property
    def shared(self) -> int:
        """Vectors of numbers that are loaded as one."""
        return self.widening.shared if self.count % self.widening.shared == 0 else 1

    def weighed(self, builder: Any, w: Any, parts: list[Any], totals: list[Any]) -> list[Any]:
        """`totals + w parts`."""
        if self.fused:
            return [self.vectors.fma(w, x, y) for x, y in zip(parts, totals, strict=True)]
        return [builder.fadd(builder.fmul(w, x), y) for x, y in zip(parts, totals, strict=True)]


def emit_answers(module: Any, widening: Widening, lanes: int, fused: bool) -> Any:
    """The function `(codes, count, tall, rows, width, gates, q, scales, y)`; see `Stack`."""
    element = widening.element
    name = f"mcore_answers_{widening.code}_{element.intrinsic_name}"
    byte, place = ir.IntType(8).as_pointer(), element.as_pointer()
    arguments = [byte, *[INDEX] * 4, *[place] * 4]
    function, builder = outlined(module, name, arguments)
    if builder is None:
        return function
    stack, vectors, begin = Stack(*function.args), Vectors(builder, element, lanes), INDEX(0)
    panels = ((WIDE, 1), *_PANELS) if lanes * vectors.bits == 512 else _PANELS
    for count, height in panels:
        step = INDEX(count * lanes)
        end = builder.mul(builder.udiv(stack.width, step), step)
        with cgutils.for_range_slice(builder, begin, end, step, inc=True) as (j, _):
            column = builder.mul(j, INDEX(widening.size))
            stripe = Stripe(stack, column, vectors, count, fused, widening)
            _emit_stripe(builder, stripe, builder.gep(stack.y, [j]), height)
        begin = end
    builder.ret_void()
    return function


def _emit_stripe(builder: Any, stripe: Stripe, y: Any, height: int) -> None:
    """A panel of all matrices: `height` rows at once, each into sums of its own."""
    count, vectors, stack = stripe.count, stripe.vectors, stripe.stack
    whole = builder.mul(builder.udiv(stack.rows, INDEX(height)), INDEX(height))

    def matrix(n: Any, totals: list[Any]) -> list[Any]:
        part, zeros = _Part(stripe, n), [vectors.zero()] * (count * height)
        sums = emit_loop(builder, (INDEX(0), whole, height), zeros, part.rows(builder, height))
        for more in range(1, height):
            added = sums[more * count : (more + 1) * count]
            sums[:count] = [builder.fadd(a, b) for a, b in zip(sums, added, strict=False)]
        sums = sums[:count]
        if height > 1:
            sums = emit_loop(builder, (whole, stack.rows, 1), sums, part.rows(builder, 1))
        gate = vectors.splat(builder.load(builder.gep(stack.gates, [n])))
        return stripe.weighed(builder, gate, sums, totals)

    zeros = [vectors.zero()] * count
    totals = emit_loop(builder, (INDEX(0), stack.count, 1), zeros, matrix)
    for j, total in enumerate(_in_order(stripe, totals)):
        place = builder.gep(y, [INDEX(vectors.lanes * j)])
        vectors.store(builder.fadd(vectors.load(place), total), place)


def emit_loop(
    builder: Any, span: tuple[Any, Any, int], start: list[Any], body: Callable[..., list[Any]]
) -> list[Any]:
    """`for i in range(*span): sums = body(i, sums)`, the sums staying in registers."""
    begin, end, step = span
    entry = builder.block
    head, inside, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    i, *sums = (builder.phi(x.type) for x in (begin, *start))
    for phi, value in zip((i, *sums), (begin, *start), strict=True):
        phi.add_incoming(value, entry)
    builder.cbranch(builder.icmp_signed("<", i, end), inside, done)
    builder.position_at_end(inside)
    totals = body(i, list(sums))
    for phi, value in zip((i, *sums), (builder.add(i, INDEX(step)), *totals), strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(done)
    return sums


@dataclass(frozen=True)
class _Part:
    """The panel of matrix n."""

    stripe: Stripe
    n: Any

    def rows(self, builder: Any, height: int) -> Callable[..., list[Any]]:
        """The body of a loop over rows, `height` at a time."""

        def body(row: Any, sums: list[Any]) -> list[Any]:
            count, totals = self.stripe.count, list[Any]()
            for ahead in range(height):
                here = builder.add(row, INDEX(ahead))
                totals += self._row(builder, here, sums[ahead * count : (ahead + 1) * count])
            return totals

        return body

    def _row(self, builder: Any, row: Any, sums: list[Any]) -> list[Any]:
        """`sums + q[row] s[row] C[row, :]`."""
        stripe, stack = self.stripe, self.stripe.stack
        size = INDEX(stripe.widening.size)
        place = builder.add(builder.mul(self.n, stack.tall), row)
        w = builder.load(builder.gep(stack.q, [row]))
        if stripe.widening.code == "int8":
            w = builder.fmul(w, builder.load(builder.gep(stack.scales, [place])))
        before = builder.mul(builder.mul(place, stack.width), size)
        first = builder.gep(stack.codes, [builder.add(before, stripe.column)])
        numbers = _emit_numbers(builder, stripe, first)
        return stripe.weighed(builder, stripe.vectors.splat(w), numbers, sums)


def _in_order(stripe: Stripe, sums: list[Any]) -> list[Any]:
    """Sums by column, from pairs that hold the even and the odd columns."""
    if stripe.shared == 1:
        return sums
    vectors, lanes = stripe.vectors, stripe.vectors.lanes
    evenly = [lane // 2 + lanes * (lane % 2) for lane in range(2 * lanes)]
    return [
        vectors.shuffle(sums[j], sums[j + 1], evenly[part : part + lanes])
        for j in range(0, len(sums), 2)
        for part in (0, lanes)
    ]


def _emit_numbers(builder: Any, stripe: Stripe, first: Any) -> list[Any]:
    """A row of the panel, widened; even and odd columns where lanes are shared."""
    lanes, widening, found = stripe.vectors.lanes, stripe.widening, list[Any]()
    for j in range(0, stripe.count, stripe.shared):
        place = builder.gep(first, [INDEX(lanes * widening.size * j)])
        kind = (
            widening.stored(lanes) if stripe.shared == 1 else ir.VectorType(ir.IntType(32), lanes)
        )
        x = builder.load(builder.bitcast(place, kind.as_pointer()), align=widening.size)
        if stripe.shared > 1:
            found += widening.split(builder, x, lanes)
        else:
            found.append(widening.widened(builder, x, lanes))
    return found
