"""Emit, as LLVM IR, the product X = A B whose tiles are used up while they are in registers.

    X = A B        s_t += sum_k Q_kt X_kt        D += w . X        W = w . Q

A (K, V) any strides; B (V, n), Q, D, W (K, n) with unit column stride; w, s (n,). X is not stored.
"""

from dataclasses import dataclass
from typing import Any

from numba.core import cgutils

from mcore.backends.numba_cpu.gemm_emit import Product, Strided, Tile, Tiling, depth_loop
from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined


@dataclass(frozen=True)
class Weighing:
    """What a tile of X meets: Q, D, W at the tile's place; w and s at its columns."""

    q: Strided
    d: Strided
    weighted: Strided
    w: Strided
    s: Strided


def emit_weigh(module: Any, element: Any, tiling: Tiling) -> Any:
    """The function `(a, a_row, a_col, K, V, b, b_row, n, q, q_row, d, d_row, W, W_row, w, s)`."""
    name = f"mcore_weigh_{element.intrinsic_name}"
    place = element.as_pointer()
    target = [place, INDEX]
    arguments = [place, *[INDEX] * 4, *target, INDEX, *target * 3, place, place]
    function, builder = outlined(module, name, arguments)
    if builder is None:
        return function
    _emit_panels(builder, function.args, Vectors(builder, element, tiling.lanes), tiling)
    builder.ret_void()
    return function


def _emit_panels(builder: Any, args: Any, vectors: Vectors, tiling: Tiling) -> None:
    a, a_row, a_col, rows, depth, b, b_row, columns, *targets, w, s = args
    one = INDEX(1)
    whole = Product(Strided(a, a_row, a_col), Strided(b, b_row, one), depth)
    q, d, weighted = (
        Strided(x, row, one) for x, row in zip(targets[::2], targets[1::2], strict=True)
    )
    zero = INDEX(0)
    met = Weighing(q, d, weighted, Strided(w, zero, one), Strided(s, zero, one))
    wide, narrow = INDEX(tiling.lanes * tiling.vectors), INDEX(tiling.lanes)
    full = builder.mul(builder.udiv(columns, wide), wide)
    with cgutils.for_range_slice(builder, INDEX(0), full, wide, inc=True) as (j, _):
        _emit_rows(builder, (whole, met), (rows, j), Tile(vectors, tiling.vectors, None), tiling)
    with cgutils.for_range_slice(builder, full, columns, narrow, inc=True) as (j, _):
        mask = vectors.first(builder.sub(columns, j))
        _emit_rows(builder, (whole, met), (rows, j), Tile(vectors, 1, mask), tiling)


def _emit_rows(builder: Any, operands: Any, place: Any, tile: Tile, tiling: Tiling) -> None:
    """All tiles of one panel of columns; place = (rows, j)."""
    whole, met = operands
    rows, j = place
    start = INDEX(0)
    for height in tiling.rows:
        step = INDEX(height)
        left = builder.sub(rows, start)
        end = builder.add(start, builder.mul(builder.sdiv(left, step), step))
        with cgutils.for_range_slice(builder, start, end, step, inc=True) as (i, _):
            a, b = whole.a.at(builder, i, INDEX(0)), whole.b.at(builder, INDEX(0), j)
            part = Product(a, b, whole.depth)
            here = Weighing(
                *(x.at(builder, i, j) for x in (met.q, met.d, met.weighted, met.w, met.s))
            )
            sums = depth_loop(builder, part, tile, height)
            _emit_use(builder, here, tile, sums)
        start = end


def _emit_use(builder: Any, met: Weighing, tile: Tile, sums: list[list[Any]]) -> None:
    vectors, mask = tile.vectors, tile.mask

    def at(x: Strided, i: int, offset: Any) -> Any:
        return builder.gep(x.at(builder, INDEX(i), INDEX(0)).pointer, [offset])

    for j, offset in enumerate(tile.offsets()):
        w = vectors.load(at(met.w, 0, offset), mask)
        total = vectors.load(at(met.s, 0, offset), mask)
        for i, row in enumerate(sums):
            q = vectors.load(at(met.q, i, offset), mask)
            total = vectors.fma(q, row[j], total)
            d = vectors.load(at(met.d, i, offset), mask)
            vectors.store(vectors.fma(w, row[j], d), at(met.d, i, offset), mask)
            vectors.store(builder.fmul(w, q), at(met.weighted, i, offset), mask)
        vectors.store(total, at(met.s, 0, offset), mask)
