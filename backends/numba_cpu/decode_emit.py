"""Emit, as LLVM IR, the product of a vector and a matrix that is stored in few bytes.

    y += w C        w (rows,), C (rows, width) of codes, y (width,)

Each code is widened in registers: the matrix is gone through once, as it is stored. Half precision
converts in hardware where the host can, else by moving bits; integers convert exactly, and their
scales belong into w. bfloat16 is the upper half of a float32: two codes that share a 32-bit lane
are taken apart by a shift and a mask, which keep up with memory where a widening shuffle does not;
sums of even and of odd columns are put in order at the end.
"""

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils

from mcore.backends.numba_cpu.vectors import INDEX, Vectors

PAD = 16
"""Widths are multiples of this: whole vectors of every element type on every host."""

_PANELS = ((8, 1), (4, 2), (1, 4))
"""Vectors of a panel of columns, and rows at once: enough sums to hide a multiply-add's delay."""

_FLOAT, _INT32 = ir.FloatType(), ir.IntType(32)


@dataclass(frozen=True)
class Widening:
    """How codes become numbers.

    Attributes:
        code: `half` or `bfloat` as 16 bits, `int8`, `float` or `double`.
        size: bytes of a code.
        element: type of the numbers.
        hardware: whether the host converts half precision itself.
    """

    code: str
    size: int
    element: Any
    hardware: bool

    @property
    def shared(self) -> int:
        """Codes that share a 32-bit lane and are taken from it by masks; 1 for none."""
        return 2 if self.code == "bfloat" and self.element == _FLOAT else 1

    def stored(self, lanes: int) -> Any:
        """Type of a vector of codes in memory."""
        kinds = {"float": _FLOAT, "double": ir.DoubleType(), "int8": ir.IntType(8)}
        if self.code == "half" and self.hardware:
            return ir.VectorType(ir.HalfType(), lanes)
        return ir.VectorType(kinds.get(self.code, ir.IntType(16)), lanes)

    def widened(self, builder: Any, x: Any, lanes: int) -> Any:
        """Codes as numbers: a vector of `lanes`, or one if that is 0."""
        wide, element = _many(_FLOAT, lanes), _many(self.element, lanes)
        if self.code == "int8":
            return builder.sitofp(x, element)
        if self.code == "half":
            x = builder.fpext(x, wide) if self.hardware else _half(builder, x, lanes)
        elif self.code == "bfloat":
            bits = builder.zext(x, _many(_INT32, lanes))
            x = builder.bitcast(builder.shl(bits, _constant(16, lanes)), wide)
        return x if x.type == element else builder.fpext(x, element)

    def split(self, builder: Any, x: Any, lanes: int) -> list[Any]:
        """The two numbers of each 32-bit lane of x."""
        upper = builder.and_(x, _constant(-0x10000, lanes))
        parts = (builder.shl(x, _constant(16, lanes)), upper)
        return [builder.bitcast(part, ir.VectorType(_FLOAT, lanes)) for part in parts]


def _many(kind: Any, lanes: int) -> Any:
    return ir.VectorType(kind, lanes) if lanes else kind


def _constant(number: int, lanes: int) -> Any:
    return ir.Constant(_many(_INT32, lanes), [number] * lanes if lanes else number)


def _half(builder: Any, x: Any, lanes: int) -> Any:
    """Exponent and fraction move into place, 2^112 mends the exponent's bias; NaN stays NaN."""
    bits = builder.zext(x, _many(_INT32, lanes))
    magnitude = builder.and_(bits, _constant(0x7FFF, lanes))
    moved = builder.shl(magnitude, _constant(13, lanes))
    wide = _many(_FLOAT, lanes)
    power = ir.Constant(wide, [2.0**112] * lanes if lanes else 2.0**112)
    number = builder.fmul(builder.bitcast(moved, wide), power)
    special = builder.or_(moved, _constant(0x7F800000, lanes))
    ordinary = builder.icmp_unsigned("<", magnitude, _constant(0x7C00, lanes))
    found = builder.select(ordinary, builder.bitcast(number, _many(_INT32, lanes)), special)
    sign = builder.shl(builder.and_(bits, _constant(0x8000, lanes)), _constant(16, lanes))
    return builder.bitcast(builder.or_(found, sign), wide)


@dataclass(frozen=True)
class Stripe:
    """A panel of columns of the product.

    Attributes:
        codes, w, y: where the panel's first row, the weights and the panel's sums are.
        stride: bytes from row to row.
        vectors: of numbers.
        fused: whether the host has a fused multiply-add.
        widening: of its codes.
        count: vectors in a row of the panel.
    """

    codes: Any
    w: Any
    y: Any
    stride: Any
    vectors: Vectors
    fused: bool
    widening: Widening
    count: int

    @property
    def shared(self) -> int:
        """Vectors of numbers that are loaded as one."""
        return self.widening.shared if self.count % self.widening.shared == 0 else 1


def emit_product(module: Any, widening: Widening, lanes: int, fused: bool) -> Any:
    """The function `(codes, rows, width, w, y)`: `y += w C`; the width is a multiple of `PAD`."""
    element = widening.element
    name = f"mcore_product_{widening.code}_{element.intrinsic_name}"
    if name in module.globals:
        return module.globals[name]
    byte = ir.IntType(8).as_pointer()
    arguments = [byte, INDEX, INDEX, element.as_pointer(), element.as_pointer()]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    # Without this LLVM clones the function for every combination of constant arguments.
    function.attributes.add("noduplicate")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    codes, rows, width, w, y = function.args
    size, vectors = INDEX(widening.size), Vectors(builder, element, lanes)
    stride, begin = builder.mul(width, size), INDEX(0)
    for count, height in _PANELS:
        step = INDEX(count * lanes)
        end = builder.mul(builder.udiv(width, step), step)
        with cgutils.for_range_slice(builder, begin, end, step, inc=True) as (j, _):
            first, sums = builder.gep(codes, [builder.mul(j, size)]), builder.gep(y, [j])
            stripe = Stripe(first, w, sums, stride, vectors, fused, widening, count)
            _emit_stripe(builder, stripe, rows, height)
        begin = end
    builder.ret_void()
    return function


def _emit_stripe(builder: Any, stripe: Stripe, rows: Any, height: int) -> None:
    """All rows of a panel: `height` at once, each into sums of its own, and what is left."""
    count, vectors = stripe.count, stripe.vectors
    whole = builder.mul(builder.udiv(rows, INDEX(height)), INDEX(height))
    sums = [vectors.zero()] * (count * height)
    sums = _emit_rows(builder, stripe, (INDEX(0), whole), sums, height)
    for more in range(1, height):
        added = sums[more * count : (more + 1) * count]
        sums[:count] = [builder.fadd(a, b) for a, b in zip(sums, added, strict=False)]
    sums = sums[:count]
    if height > 1:
        sums = _emit_rows(builder, stripe, (whole, rows), sums, 1)
    for j, total in enumerate(_in_order(stripe, sums)):
        place = builder.gep(stripe.y, [INDEX(vectors.lanes * j)])
        vectors.store(builder.fadd(vectors.load(place), total), place)


def _in_order(stripe: Stripe, sums: list[Any]) -> list[Any]:
    """Sums by column, from pairs that hold the even and the odd columns."""
    if stripe.shared == 1:
        return sums
    vectors, lanes = stripe.vectors, stripe.vectors.lanes
    evenly = [lane // 2 + lanes * (lane % 2) for lane in range(2 * lanes)]
    return [
        vectors.shuffle(*sums[j : j + 2], evenly[part : part + lanes])
        for j in range(0, len(sums), 2)
        for part in (0, lanes)
    ]


def _emit_rows(
    builder: Any, stripe: Stripe, span: tuple[Any, Any], start: list[Any], height: int
) -> list[Any]:
    """The sums after the rows of `span`, `height` at a time."""
    entry = builder.block
    head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    row, *sums = (builder.phi(x.type) for x in (span[0], *start))
    for phi, value in zip((row, *sums), (span[0], *start), strict=True):
        phi.add_incoming(value, entry)
    builder.cbranch(builder.icmp_signed("<", row, span[1]), body, done)
    builder.position_at_end(body)
    count, totals = stripe.count, []
    for ahead in range(height):
        here = builder.add(row, INDEX(ahead))
        totals += _emit_row(builder, stripe, here, sums[ahead * count : (ahead + 1) * count])
    row.add_incoming(builder.add(row, INDEX(height)), body)
    for phi, total in zip(sums, totals, strict=True):
        phi.add_incoming(total, body)
    builder.branch(head)
    builder.position_at_end(done)
    return sums


def _emit_row(builder: Any, stripe: Stripe, row: Any, sums: list[Any]) -> list[Any]:
    """`sums + w[row] C[row, :]`."""
    vectors = stripe.vectors
    w = vectors.splat(builder.load(builder.gep(stripe.w, [row])))
    first = builder.gep(stripe.codes, [builder.mul(row, stripe.stride)])
    numbers = _emit_numbers(builder, stripe, first)
    if stripe.fused:
        return [vectors.fma(w, x, total) for x, total in zip(numbers, sums, strict=True)]
    return [
        builder.fadd(builder.fmul(w, x), total) for x, total in zip(numbers, sums, strict=True)
    ]


def _emit_numbers(builder: Any, stripe: Stripe, first: Any) -> list[Any]:
    """A row of the panel, widened; even and odd columns where lanes are shared."""
    lanes, widening, found = stripe.vectors.lanes, stripe.widening, list[Any]()
    for j in range(0, stripe.count, stripe.shared):
        place = builder.gep(first, [INDEX(lanes * widening.size * j)])
        kind = widening.stored(lanes) if stripe.shared == 1 else ir.VectorType(_INT32, lanes)
        x = builder.load(builder.bitcast(place, kind.as_pointer()), align=widening.size)
        if stripe.shared > 1:
            found += widening.split(builder, x, lanes)
        else:
            found.append(widening.widened(builder, x, lanes))
    return found
