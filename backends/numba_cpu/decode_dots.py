"""Stored matrices times vectors inside kernels, `add_dots`; `decode_codes` has the transposes."""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mcore.backends.numba_cpu import host
from mcore.backends.numba_cpu.decode_codes import widening_of
from mcore.backends.numba_cpu.decode_dots_emit import emit_dots
from mcore.backends.numba_cpu.vectors import INDEX


@intrinsic
def add_dots(typing: Any, codes: Any, asked: Any, y: Any) -> tuple[Any, Any]:
    """`y += g C x` for one matrix of codes (..., rows, width), number `asked.first` of them.

    `asked.q` is x, at least as long as the matrix is wide; `asked.count` is not looked at. Arrays
    without gaps, y (rows,) or longer, the matrices as wide as whole vectors.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = (signature.args[0], *signature.args[1], signature.args[2])
        values = (args[0], *cgutils.unpack_tuple(builder, args[1]), args[2])
        stored, gates, x, scales, y_at = (
            context.make_array(kinds[i])(context, builder, values[i]) for i in (0, 3, 5, 6, 7)
        )
        widening = widening_of(context, kinds[0].dtype, kinds[5].dtype)
        lanes, fused = host.lanes(context.get_abi_sizeof(widening.element))
        rows, width = (builder.extract_value(stored.shape, kinds[0].ndim - i) for i in (2, 1))
        function = emit_dots(builder.module, widening, lanes, fused)
        before = builder.mul(values[1], rows)
        start = builder.bitcast(stored.data, function.args[0].type)
        start = builder.gep(start, [builder.mul(before, builder.mul(width, INDEX(widening.size)))])
        gate = builder.gep(gates.data, [values[4]])
        scaled = builder.gep(scales.data, [before])
        builder.call(function, [start, rows, width, gate, x.data, scaled, y_at.data])
        return context.get_dummy_value()

    return types.void(codes, asked, y), codegen
