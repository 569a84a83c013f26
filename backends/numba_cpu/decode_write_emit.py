"""Emit, as LLVM IR, what a token does to a matrix memory.

S <- diag(a) S + l r^T   or   S <- diag(a) S + l r^T + l' r'^T
"""

from typing import Any

from numba.core import cgutils

from mcore.backends.numba_cpu.decode_emit import WIDE
from mcore.backends.numba_cpu.vectors import INDEX, Vectors, outlined

_PANELS = (4, 1)
"""Vectors of a panel of columns, whose right sides stay in registers."""


def emit_write(module: Any, element: Any, lanes: int, terms: int) -> Any:
    """The function `(S, rows, width, a, l, r, ...)`, with as many pairs (l, r) as `terms`."""
    name = f"mcore_write_{terms}_{element.intrinsic_name}"
    place = element.as_pointer()
    arguments = [place, INDEX, INDEX, place, *[place] * (2 * terms)]
    function, builder = outlined(module, name, arguments)
    if builder is None:
        return function
    width, vectors, begin = function.args[2], Vectors(builder, element, lanes), INDEX(0)
    panels = (WIDE, *_PANELS) if lanes * vectors.bits == 512 else _PANELS
    for count in panels:
        step = INDEX(count * lanes)
        end = builder.mul(builder.udiv(width, step), step)
        with cgutils.for_range_slice(builder, begin, end, step, inc=True) as (j, _):
            columns = [builder.add(j, INDEX(lanes * i)) for i in range(count)]
            _emit_panel(builder, function.args, vectors, columns)
        begin = end
    builder.ret_void()
    return function


def _emit_panel(builder: Any, args: Any, vectors: Vectors, columns: list[Any]) -> None:
    state, rows, width, decays, *sides = args
    lefts, rights = sides[::2], sides[1::2]
    loaded = [[vectors.load(builder.gep(right, [j])) for j in columns] for right in rights]
    with cgutils.for_range(builder, rows) as loop:
        factors = [
            vectors.splat(builder.load(builder.gep(side, [loop.index])))
            for side in (decays, *lefts)
        ]
        row = builder.mul(loop.index, width)
        for i, j in enumerate(columns):
            target = builder.gep(state, [builder.add(row, j)])
            total = builder.fmul(factors[0], vectors.load(target))
            for left, right in zip(factors[1:], loaded, strict=True):
                total = builder.fadd(total, builder.fmul(left, right[i]), flags=("contract",))
            vectors.store(total, target)
