"""Ask for memory before it is needed, where the processor cannot guess: rows far apart."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mcore.backends.numba_cpu.caching import device

AHEAD = 2
"""Rows between the one that is worked on and the one that is asked for."""

_LINE = 64
_INT = ir.IntType(32)


@intrinsic
def _prefetch(typing: Any, x: Any, i: Any) -> tuple[Any, Any]:
    """Fetch the cache line that `x[i]` of a contiguous array is in."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        address = builder.bitcast(builder.gep(array.data, [args[1]]), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, near, data = _INT(0), _INT(3), _INT(1)
        builder.call(function, [address, read, near, data])
        return context.get_dummy_value()

    return types.void(x, types.int64), codegen


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
