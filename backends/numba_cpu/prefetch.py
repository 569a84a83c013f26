"""Ask for memory before it is needed.

The rows of one head lie apart in (B, T, H, .) arrays, so the processor does not guess which comes
next; a loop that does little with each row would wait for most of them.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mcore.backends.numba_cpu.caching import device

_LINE = 64
_READ, _KEEP, _DATA = (ir.Constant(ir.IntType(32), number) for number in (0, 3, 1))


@intrinsic
def _prefetch(typing: Any, row: Any, offset: Any) -> tuple[Any, Any]:
    """The cache line that holds element `offset` of a vector."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        byte = ir.IntType(8).as_pointer()
        place = builder.bitcast(builder.gep(array.data, [args[1]]), byte)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, _READ, _KEEP, _DATA])
        return context.get_dummy_value()

    return types.void(row, types.int64), codegen


@device
def prefetch(row: Any) -> None:
    """All cache lines of a vector without gaps."""
    for i in range(0, row.shape[0], _LINE // row.itemsize):
        _prefetch(row, i)
