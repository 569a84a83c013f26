"""Emit the small matrix product as LLVM IR: register tiles inside three plain loops.

    C (+)= diag(w) A B        A: any strides; B, C: unit column stride; w: one number or one per row

One function per element type, called rather than inlined, so that a call site costs one
instruction and kernels compile fast. Column remainders use masked loads and stores, row remainders
shorter tiles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numba.core import cgutils

from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined

FULL, LOWER, LOWER_TRANSPOSED, LOWER_OUT = 0, 1, 2, 3


@dataclass(frozen=True)
class Tiling:
    """How a product is cut: lanes of a vector, rows of the tiles (tallest first), their vectors."""

    lanes: int
    rows: tuple[int, ...]
    vectors: int


@dataclass(frozen=True)
class Strided:
    """A pointer with the distances, in elements, between neighbouring rows and columns."""

    pointer: Any
    row: Any
    column: Any

    def at(self, builder: Any, i: Any, j: Any) -> "Strided":
        """The same matrix from element (i, j) on."""
        offset = builder.add(builder.mul(i, self.row), builder.mul(j, self.column))
        return Strided(builder.gep(self.pointer, [offset]), self.row, self.column)


@dataclass(frozen=True)
class Product:
    """The operands of `A B`, or of the part of it that one tile computes."""

    a: Strided
    b: Strided
    depth: Any


@dataclass(frozen=True)
class Target:
    """Where a product goes: `C (+)= diag(w) A B`."""

    c: Strided
    w: Strided
    add: Any


def emit_gemm(module: Any, element: Any, tiling: Tiling) -> Any:
    """The function `(a, a_row, a_col, M, K, b, b_row, N, c, c_row, w, w_row, add, mode)`."""
    name = f"mcore_gemm_{element.intrinsic_name}"
    place = element.as_pointer()
    counts, target = [INDEX] * 4, [place, INDEX]
    arguments = [place, *counts, *target, INDEX, *target, *target, INDEX, INDEX]
    function, builder = outlined(module, name, arguments)
    if builder is None:
        return function
    _emit_panels(builder, function.args, Vectors(builder, element, tiling.lanes), tiling)
    builder.ret_void()
    return function


def _emit_panels(builder: Any, args: Any, vectors: Vectors, tiling: Tiling) -> None:
    a, a_row, a_col, rows, depth, b, b_row, columns, c, c_row, w, w_row, add, mode = args
    one = INDEX(1)
    whole = Product(Strided(a, a_row, a_col), Strided(b, b_row, one), depth)
    target = Target(Strided(c, c_row, one), Strided(w, w_row, one), add)
    wide = INDEX(tiling.lanes * tiling.vectors)
    narrow = INDEX(tiling.lanes)
    full = builder.mul(builder.udiv(columns, wide), wide)
    with cgutils.for_range_slice(builder, INDEX(0), full, wide, inc=True) as (j, _):
        tile = Tile(vectors, tiling.vectors, None)
        _emit_rows(builder, (whole, target), (rows, j, mode), tile, tiling.rows)
    with cgutils.for_range_slice(builder, full, columns, narrow, inc=True) as (j, _):
        mask = vectors.first(builder.sub(columns, j))
        tile = Tile(vectors, 1, mask)
        _emit_rows(builder, (whole, target), (rows, j, mode), tile, tiling.rows)


@dataclass(frozen=True)
class Tile:
    """The columns of a tile: how many vectors, and which lanes of the last one (None: all)."""

    vectors: Vectors
    count: int
    mask: Any

    def offsets(self) -> list[Any]:
        return [INDEX(self.vectors.lanes * j) for j in range(self.count)]


def _emit_rows(
    builder: Any, operands: Any, place: Any, tile: Tile, heights: tuple[int, ...]
) -> None:
    """All tiles of one panel of columns, tall ones first.

    operands = (product, target); place = (rows, first column, mode).
    """
    (whole, target), (rows, j, mode) = operands, place
    tallest = INDEX(heights[0])
    above = builder.mul(builder.udiv(j, tallest), tallest)
    lower_out = builder.icmp_signed("==", mode, INDEX(LOWER_OUT))
    start = builder.select(lower_out, above, INDEX(0))
    for height in heights:
        left = builder.sub(rows, start)
        empty = builder.icmp_signed("<", left, INDEX(height))
        step = INDEX(height)
        end = builder.add(start, builder.mul(builder.sdiv(left, step), step))
        end = builder.select(empty, start, end)
        with cgutils.for_range_slice(builder, start, end, step, inc=True) as (i, _):
            part = _cut(builder, whole, (i, j, mode), height)
            c, w = target.c.at(builder, i, j), target.w.at(builder, i, INDEX(0))
            _emit_tile(builder, part, Target(c, w, target.add), tile, height)
        start = end


def _cut(builder: Any, whole: Product, place: Any, height: int) -> Product:
    """The operands of the tile at `place` = (i, j, mode), less what the mode says is zero."""
    i, j, mode = place
    below = builder.add(i, INDEX(height))
    shorter = builder.select(builder.icmp_signed("<", below, whole.depth), below, whole.depth)
    end = builder.select(builder.icmp_signed("==", mode, INDEX(LOWER)), shorter, whole.depth)
    transposed = builder.icmp_signed("==", mode, INDEX(LOWER_TRANSPOSED))
    begin = builder.select(transposed, i, INDEX(0))
    return Product(
        whole.a.at(builder, i, begin),
        whole.b.at(builder, begin, j),
        builder.sub(end, begin),
    )


def _emit_tile(builder: Any, part: Product, target: Target, tile: Tile, height: int) -> None:
    # The sums take long enough for C to arrive from a far cache.
    for i in range(height):
        tile.vectors.prefetch(target.c.at(builder, INDEX(i), INDEX(0)).pointer)
    sums = depth_loop(builder, part, tile, height)
    with builder.if_else(builder.icmp_signed("!=", target.add, INDEX(0))) as (added, fresh):
        with added:
            _emit_store(builder, target, tile, sums, tile.vectors.fma)
        with fresh:
            _emit_store(builder, target, tile, sums, lambda w, x, _: builder.fmul(w, x))


def depth_loop(builder: Any, part: Product, tile: Tile, height: int) -> list[list[Any]]:
    """Rows of the register tile `sum_k a[i, k] b[k, :]`, one fused multiply-add per vector."""
    vectors = tile.vectors
    rows = [part.a.at(builder, INDEX(i), INDEX(0)).pointer for i in range(height)]
    entry = builder.block
    head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    k, a_offset, b_offset = (phi(builder, INDEX, INDEX(0), entry) for _ in range(3))
    sums = [
        [phi(builder, vectors.type, vectors.zero(), entry) for _ in range(tile.count)]
        for _ in range(height)
    ]
    builder.cbranch(builder.icmp_signed("<", k, part.depth), body, done)
    builder.position_at_end(body)
    b_row = builder.gep(part.b.pointer, [b_offset])
    loaded = [vectors.load(builder.gep(b_row, [j]), tile.mask) for j in tile.offsets()]
    for pointer, totals in zip(rows, sums, strict=True):
        a = vectors.splat(builder.load(builder.gep(pointer, [a_offset])))
        for total, b in zip(totals, loaded, strict=True):
            total.add_incoming(vectors.fma(a, b, total), body)
    k.add_incoming(builder.add(k, INDEX(1)), body)
    a_offset.add_incoming(builder.add(a_offset, part.a.column), body)
    b_offset.add_incoming(builder.add(b_offset, part.b.row), body)
    builder.branch(head)
    builder.position_at_end(done)
    return sums


def phi(builder: Any, kind: Any, start: Any, entry: Any) -> Any:
    """A value that is `start` when it comes from block `entry`."""
    phi = builder.phi(kind)
    phi.add_incoming(start, entry)
    return phi


def _emit_store(
    builder: Any, target: Target, tile: Tile, sums: list[list[Any]], combine: Callable[..., Any]
) -> None:
    """`C = combine(w, sum, C)`; C is not loaded by a `combine` that ignores it."""
    for i, totals in enumerate(sums):
        w = tile.vectors.splat(builder.load(target.w.at(builder, INDEX(i), INDEX(0)).pointer))
        row = target.c.at(builder, INDEX(i), INDEX(0)).pointer
        for j, total in zip(tile.offsets(), totals, strict=True):
            pointer = builder.gep(row, [j])
            old = tile.vectors.load(pointer, tile.mask)
            tile.vectors.store(combine(w, total, old), pointer, tile.mask)
