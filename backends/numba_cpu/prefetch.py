"""Ask for memory before it is needed, where the processor cannot guess: rows far apart."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mcore.backends.numba_cpu.caching import device

AHEAD = 2
"""Rows between the one that is worked on and the one that is asked for."""

_NEAR, _LATER = 3, 2
_LINE = 64
_INT = ir.IntType(32)


@intrinsic
def _prefetch(typing: Any, x: Any, i: Any) -> tuple[Any, Any]:
    """Fetch the cache line that `x[i]` of a contiguous array is in."""
    return types.void(x, types.int64), _asking(_NEAR)


@intrinsic
def _prefetch_later(typing: Any, x: Any, i: Any) -> tuple[Any, Any]:
    """As `_prefetch`, but into the second cache: it is needed, but not at once."""
    return types.void(x, types.int64), _asking(_LATER)


def _asking(nearness: int) -> Callable[..., Any]:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        address = builder.bitcast(builder.gep(array.data, [args[1]]), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, data = _INT(0), _INT(1)
        builder.call(function, [address, read, _INT(nearness), data])
        return context.get_dummy_value()

    return codegen


@device
def prefetch(x: Any, begin: int, end: int) -> None:
    """Fetch `x[begin:end]`; nothing where that is outside x."""
    step = _LINE // x.itemsize
    for i in range(max(begin, 0), min(end, x.shape[0]), step):
        _prefetch(x, i)


@device
def prefetch_row(row: Any) -> None:
    """Fetch all of a vector without gaps."""
    for i in range(0, row.shape[0], _LINE // row.itemsize):
        _prefetch(row, i)


@device
def prefetch_later(block: Any) -> None:
    """Fetch the rows of `block` (n, .), each without gaps, for later."""
    for row in block:
        for i in range(0, row.shape[0], _LINE // row.itemsize):
            _prefetch_later(row, i)


@device
def prefetch_rows(source: Any, place: Any) -> None:
    """Fetch the rows `source[b, begin + i, h]`, i < n, for later; `place` is (b, h, begin, n).

    Nothing where they are outside of `source`, or if it has no elements.
    """
    b, h, begin, n = place
    for t in range(max(begin, 0), min(begin + n, source.shape[1])):
        row = source[b, t, h]
        for i in range(0, row.shape[0], _LINE // row.itemsize):
            _prefetch_later(row, i)
