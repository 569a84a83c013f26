"""Small matrix products and transposes inside kernels: `gemm(a, b, c, w, add, mode)`, `transpose`.

    C (+)= diag(w) A B       a: any strides, so `x.T` is free; b, c: unit column stride
    w: one number, or one per row;  add: 0 overwrites C, 1 adds to it
    Sizes are taken from a and b: a larger c is used from its top left corner.

    FULL              all of A is used
    LOWER             A is lower triangular, with zeros above its diagonal
    LOWER_TRANSPOSED  A = X.T of such an X
    LOWER_OUT         only the lower triangle of C is wanted; above it anything may be left

The fast form is emitted as LLVM IR (`gemm_emit`, `transpose_emit`). Hosts whose vector unit is
unknown, and MCORE_PORTABLE_KERNELS=1, use the loops of `gemm_portable`.
"""

from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from mcore.backends.numba_cpu import gemm_portable, host
from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.gemm_emit import (
    FULL,
    LOWER,
    LOWER_OUT,
    LOWER_TRANSPOSED,
    emit_gemm,
)
from mcore.backends.numba_cpu.transpose_emit import emit_block_transpose
from mcore.backends.numba_cpu.vectors import INDEX

__all__ = ["FULL", "LOWER", "LOWER_OUT", "LOWER_TRANSPOSED", "gemm", "transpose"]

_BLOCK = 8


def describe(context: Any, builder: Any, kind: Any, value: Any) -> tuple[Any, list[Any], list[Any]]:
    """Data pointer, shape, and strides in elements of an array."""
    array = context.make_array(kind)(context, builder, value)
    size = INDEX(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = cgutils.unpack_tuple(builder, array.strides)
    shape = cgutils.unpack_tuple(builder, array.shape)
    return array.data, shape, [builder.sdiv(stride, size) for stride in strides]


def check_types(*arrays: Any) -> None:
    """Refuse arrays of different element types.

    Raises:
        TypingError: they differ.
    """
    if len({array.dtype for array in arrays}) > 1:
        raise TypingError(f"element types differ: {arrays}")


@intrinsic
def _emitted_gemm(
    typing: Any, a: Any, b: Any, c: Any, w: Any, add: Any, mode: Any
) -> tuple[Any, Any]:
    check_types(a, b, c, *([w] if isinstance(w, types.Array) else []))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        a_at, (rows, depth), a_steps = describe(context, builder, kinds[0], args[0])
        b_at, (_, columns), (b_row, _) = describe(context, builder, kinds[1], args[1])
        c_at, _, (c_row, _) = describe(context, builder, kinds[2], args[2])
        element = context.get_data_type(kinds[2].dtype)
        if isinstance(kinds[3], types.Array):
            w_at, _, (w_row,) = describe(context, builder, kinds[3], args[3])
        else:
            scale = context.cast(builder, args[3], kinds[3], kinds[2].dtype)
            w_at, w_row = cgutils.alloca_once_value(builder, scale), INDEX(0)
        tiling = host.tiling(context.get_abi_sizeof(element))
        assert tiling is not None
        function = emit_gemm(builder.module, element, tiling)
        a_part = [a_at, *a_steps, rows, depth]
        builder.call(
            function, [*a_part, b_at, b_row, columns, c_at, c_row, w_at, w_row, args[4], args[5]]
        )
        return context.get_dummy_value()

    return types.void(a, b, c, w, types.int64, types.int64), codegen


@intrinsic
def _transpose_block(typing: Any, a: Any, b: Any, i: Any, j: Any) -> tuple[Any, Any]:
    """B[j:j+8, i:i+8] = A[i:i+8, j:j+8]^T."""
    check_types(a, b)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a_at, _, (a_row, _) = describe(context, builder, signature.args[0], args[0])
        b_at, _, (b_row, _) = describe(context, builder, signature.args[1], args[1])
        _, _, i, j = args
        source = builder.gep(a_at, [builder.add(builder.mul(i, a_row), j)])
        target = builder.gep(b_at, [builder.add(builder.mul(j, b_row), i)])
        element = context.get_data_type(signature.args[0].dtype)
        function = emit_block_transpose(builder.module, element, _BLOCK)
        builder.call(function, [source, a_row, target, b_row])
        return context.get_dummy_value()

    return types.void(a, b, types.int64, types.int64), codegen


@device
def _emitted_transpose(a: Any, b: Any) -> None:
    """`B = A^T`; both with unit column stride."""
    rows, columns = a.shape[0] // _BLOCK * _BLOCK, a.shape[1] // _BLOCK * _BLOCK
    for i in range(0, rows, _BLOCK):
        for j in range(0, columns, _BLOCK):
            _transpose_block(a, b, i, j)
    for i in range(a.shape[0]):
        for j in range(columns if i < rows else 0, a.shape[1]):
            b[j, i] = a[i, j]


_portable = host.tiling(4) is None
gemm = gemm_portable.gemm if _portable else _emitted_gemm
transpose = gemm_portable.transpose if _portable else _emitted_transpose
