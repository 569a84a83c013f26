"""Emit, as LLVM IR, products of stored rows with a vector: the other side of `decode_emit`.

    y += g s (C x)      C (rows, width) of codes, x (width,), s and y (rows,), g one number

Rows are gone through one by one, as they lie in memory, so that the processor asks for what comes
next. The sums of some rows are then added up together, by halves of neighbouring lanes. Only
integers have scales.
"""

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from mcore.backends.numba_cpu.decode_emit import emit_loop
from mcore.backends.numba_cpu.decode_widen import Widening
from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined

_HEIGHT = 8
"""Rows whose sums are added up together, at most."""

_ABREAST = 4
"""Vectors of a row at once: enough sums to hide a multiply-add's delay."""


@dataclass(frozen=True)
class Rows:
    """A matrix and what it is multiplied by.

    Attributes:
        codes: where its first row is.
        rows, width: its size; the width is a multiple of `PAD`.
        gate, x, scales, y: as in the equation; the gate is behind a pointer.
        vectors: of numbers.
        fused: whether the host has a fused multiply-add.
        widening: of the codes.
    """

    codes: Any
    rows: Any
    width: Any
    gate: Any
    x: Any
    scales: Any
    y: Any
    vectors: Vectors
    fused: bool
    widening: Widening


def emit_dots(module: Any, widening: Widening, lanes: int, fused: bool) -> Any:
    """The function `(codes, rows, width, gate, x, scales, y)`; see `Rows`."""
    element = widening.element
    name = f"mcore_dots_{widening.code}_{element.intrinsic_name}"
    place = element.as_pointer()
    arguments = [ir.IntType(8).as_pointer(), INDEX, INDEX, *[place] * 4]
    function, builder = outlined(module, name, arguments)
    if builder is None:
        return function
    vectors = Vectors(builder, element, lanes)
    codes, count, width, gate, x, scales, y = function.args
    rows = Rows(codes, count, width, gate, x, scales, y, vectors, fused, widening)
    height = min(_HEIGHT, lanes)
    whole = builder.mul(builder.udiv(rows.rows, INDEX(height)), INDEX(height))
    for span in ((INDEX(0), whole, height), (whole, rows.rows, 1)):
        emit_loop(builder, span, [], _several(builder, rows, span[2]))
    builder.ret_void()
    return function


def _several(builder: Any, rows: Rows, height: int) -> Any:
    """The body of a loop over rows, `height` at a time: each is gone through by itself."""

    def body(row: Any, sums: list[Any]) -> list[Any]:
        totals = [_row(builder, rows, builder.add(row, INDEX(i))) for i in range(height)]
        _store(builder, rows, row, totals)
        return sums

    return body


def _row(builder: Any, rows: Rows, row: Any) -> Any:
    """The products of a row, as a vector of partial sums."""
    vectors, lanes = rows.vectors, rows.vectors.lanes
    before, begin = builder.mul(row, rows.width), INDEX(0)
    totals = [vectors.zero()] * _ABREAST
    for count in (_ABREAST, 1):
        step = INDEX(count * lanes)
        end = builder.mul(builder.udiv(rows.width, step), step)
        part = _columns(builder, rows, before, count)
        totals[:count] = emit_loop(builder, (begin, end, count * lanes), totals[:count], part)
        begin = end
    while len(totals) > 1:
        pairs = zip(totals[::2], totals[1::2], strict=True)
        totals = [builder.fadd(a, b) for a, b in pairs]
    return totals[0]


def _columns(builder: Any, rows: Rows, before: Any, count: int) -> Any:
    """The body of a loop over columns, `count` vectors at a time."""

    def body(column: Any, totals: list[Any]) -> list[Any]:
        found = list[Any]()
        for i, total in enumerate(totals):
            here = builder.add(column, INDEX(rows.vectors.lanes * i))
            x = rows.vectors.load(builder.gep(rows.x, [here]))
            numbers = _numbers(builder, rows, builder.add(before, here))
            found.append(_added(builder, rows, (x, numbers), total))
        return found

    return body


def _numbers(builder: Any, rows: Rows, place: Any) -> Any:
    """A vector of codes as numbers."""
    lanes, widening = rows.vectors.lanes, rows.widening
    first = builder.gep(rows.codes, [builder.mul(place, INDEX(widening.size))])
    kind = widening.stored(lanes).as_pointer()
    codes = builder.load(builder.bitcast(first, kind), align=widening.size)
    return widening.widened(builder, codes, lanes)


def _added(builder: Any, rows: Rows, pair: tuple[Any, Any], total: Any) -> Any:
    if rows.fused:
        return rows.vectors.fma(*pair, total)
    return builder.fadd(builder.fmul(*pair), total)


def _store(builder: Any, rows: Rows, row: Any, totals: list[Any]) -> None:
    """Add each row's sum to y, weighed."""
    few = Vectors(builder, rows.vectors.element, len(totals))
    sums = _summed(builder, rows.vectors, totals)
    sums = builder.fmul(few.splat(builder.load(rows.gate)), sums)
    if rows.widening.code == "int8":
        sums = builder.fmul(few.load(builder.gep(rows.scales, [row])), sums)
    place = builder.gep(rows.y, [row])
    few.store(builder.fadd(few.load(place), sums), place)


def _summed(builder: Any, vectors: Vectors, totals: list[Any]) -> Any:
    """The sums of the lanes of some vectors, a power of two, as one vector of as many lanes."""
    lanes, count, folds = vectors.lanes, len(totals), vectors.lanes // len(totals)

    def halved(a: Any, b: Any) -> Any:
        even, odd = (vectors.shuffle(a, b, range(first, 2 * lanes, 2)) for first in (0, 1))
        return builder.fadd(even, odd)

    while len(totals) > 1:
        totals = [halved(*totals[i : i + 2]) for i in range(0, len(totals), 2)]
    while folds > 1:
        totals, folds = [halved(totals[0], totals[0])], folds // 2
    return vectors.shuffle(totals[0], totals[0], range(count))
