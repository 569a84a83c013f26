"""Emit, as LLVM IR, products of stored rows with a vector: the other side of `decode_emit`.

    y += g s (C x)      C (rows, width) of codes, x (width,), s and y (rows,), g one number

Several rows at once share each part of x that is loaded; their sums are then added up together, by
halves of neighbouring lanes. Only integers have scales.
"""

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from mcore.backends.numba_cpu.decode_emit import emit_loop
from mcore.backends.numba_cpu.decode_widen import Widening
from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined

_HEIGHT = 8
"""Rows at once, at most: enough sums to hide a multiply-add's delay."""


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
    """The body of a loop over rows, `height` at a time."""

    def body(row: Any, sums: list[Any]) -> list[Any]:
        shared = rows.widening.shared
        wide = INDEX(shared * rows.vectors.lanes)
        whole = builder.mul(builder.udiv(rows.width, wide), wide)
        totals = [rows.vectors.zero()] * height
        spans = [(INDEX(0), whole, shared), (whole, rows.width, 1)]
        for begin, end, count in spans if shared > 1 else [(INDEX(0), rows.width, 1)]:
            span = (begin, end, count * rows.vectors.lanes)
            totals = emit_loop(builder, span, totals, _columns(builder, rows, row, count))
        _store(builder, rows, row, totals)
        return sums

    return body


def _columns(builder: Any, rows: Rows, row: Any, count: int) -> Any:
    """The body of a loop over columns, `count` vectors at a time: products added to each row's."""

    def body(column: Any, totals: list[Any]) -> list[Any]:
        parts, found = _parts(builder, rows, column, count), list[Any]()
        for ahead, total in enumerate(totals):
            place = builder.add(builder.mul(builder.add(row, INDEX(ahead)), rows.width), column)
            for x, numbers in zip(parts, _numbers(builder, rows, place, count), strict=True):
                total = _added(builder, rows, (x, numbers), total)
            found.append(total)
        return found

    return body


def _parts(builder: Any, rows: Rows, column: Any, count: int) -> list[Any]:
    """x from a column on; its even and its odd numbers apart where two codes share a lane."""
    vectors, lanes = rows.vectors, rows.vectors.lanes
    places = [builder.add(column, INDEX(lanes * i)) for i in range(count)]
    loaded = [vectors.load(builder.gep(rows.x, [place])) for place in places]
    if count == 1:
        return loaded
    even, odd = (range(first, 2 * lanes, 2) for first in (0, 1))
    return [vectors.shuffle(loaded[0], loaded[1], picks) for picks in (even, odd)]


def _numbers(builder: Any, rows: Rows, place: Any, count: int) -> list[Any]:
    """Codes from a place on as numbers, apart likewise."""
    lanes, widening = rows.vectors.lanes, rows.widening
    first = builder.gep(rows.codes, [builder.mul(place, INDEX(widening.size))])
    kind = widening.stored(lanes) if count == 1 else ir.VectorType(ir.IntType(32), lanes)
    codes = builder.load(builder.bitcast(first, kind.as_pointer()), align=widening.size)
    if count > 1:
        return widening.split(builder, codes, lanes)
    return [widening.widened(builder, codes, lanes)]


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
