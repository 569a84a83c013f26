"""Checkpoints as codes inside kernels: `store_row`, `number`, and their answers, `add_answers`.

Arrays of codes tell by their type what they hold: int16 is half precision, uint16 is bfloat16 (the
upper half of a float32), int8 whole numbers with a scale per row; float32 and float64 themselves.
Rounding is that of `mcore.cache.compact`, to the bit.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from mcore.arrays import Array
from mcore.backends.numba_cpu import host
from mcore.backends.numba_cpu.caching import EXACT, device
from mcore.backends.numba_cpu.decode_emit import emit_answers
from mcore.backends.numba_cpu.decode_widen import Widening
from mcore.backends.numba_cpu.decode_write_emit import emit_write
from mcore.backends.numba_cpu.vectors import INDEX
from mcore.cache.compact import LARGEST_HALF, LEVELS

VIEWS = {"float16": np.int16}
"""Numba knows no half precision: its bits go by this name."""

_CODES = {
    types.int16: "half",
    types.uint16: "bfloat",
    types.int8: "int8",
    types.float32: "float",
    types.float64: "double",
}


def viewed(codes: Array) -> Array:
    """Codes under the type by which kernels know them."""
    kind = VIEWS.get(codes.dtype.name)
    return codes if kind is None else codes.view(kind)


def widening_of(context: Any, code: Any, element: Any) -> Widening:
    if code not in _CODES:
        raise TypingError(f"{code} holds no checkpoints")
    size = context.get_abi_sizeof(context.get_data_type(code))
    return Widening(_CODES[code], size, context.get_data_type(element), host.converts_half())


@intrinsic
def borrowed(typing: Any, array: Any) -> tuple[Any, Any]:
    """The same array, but for the count of references: its owner outlives the kernel.

    Counting takes longer than small products: every function counts all arrays that it is given.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        return view._getvalue()

    return array(array), codegen


@device
def clear(x: Any) -> None:
    """Zeros; a slice that is assigned to takes ten times as long."""
    for i in range(x.shape[0]):
        x[i] = 0


class Asked(NamedTuple):
    """Matrices that lie one after another, and what they are asked.

    Attributes:
        first, count: which of the matrices in an array (..., rows, width).
        gates, gate: an array, and where in it the first one's gate is.
        q: (rows,); it may be shorter than the matrices are tall.
        scales: of all rows in the array, if codes are integers.
    """

    first: Any
    count: Any
    gates: Any
    gate: Any
    q: Any
    scales: Any


@intrinsic
def add_answers(typing: Any, codes: Any, asked: Any, y: Any) -> tuple[Any, Any]:
    """`y += sum_n g_n q^T C_n` over neighbouring matrices of codes (..., rows, width).

    Arrays without gaps, y and the matrices as wide as whole vectors. No slice is taken: that costs
    as much as a small product.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = (signature.args[0], *signature.args[1], signature.args[2])
        values = (args[0], *cgutils.unpack_tuple(builder, args[1]), args[2])
        stored, gates, q, scales, y_at = (
            context.make_array(kinds[i])(context, builder, values[i]) for i in (0, 3, 5, 6, 7)
        )
        _, first, count, _, gate = values[:5]
        widening = widening_of(context, kinds[0].dtype, kinds[5].dtype)
        lanes, fused = host.lanes(context.get_abi_sizeof(widening.element))
        tall, width = (builder.extract_value(stored.shape, kinds[0].ndim - i) for i in (2, 1))
        function = emit_answers(builder.module, widening, lanes, fused)
        row = builder.mul(first, tall)
        before = builder.mul(row, builder.mul(width, INDEX(widening.size)))
        start = builder.gep(builder.bitcast(stored.data, function.args[0].type), [before])
        rows = builder.extract_value(q.shape, 0)
        scaled, gated = builder.gep(scales.data, [row]), builder.gep(gates.data, [gate])
        builder.call(function, [start, count, tall, rows, width, gated, q.data, scaled, y_at.data])
        return context.get_dummy_value()

    return types.void(codes, asked, y), codegen


def _writer(terms: int) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        state, decays, *sides = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, args, strict=True)
        )
        element = context.get_data_type(signature.args[0].dtype)
        lanes, _ = host.lanes(context.get_abi_sizeof(element))
        rows, width = (builder.extract_value(state.shape, i) for i in (0, 1))
        function = emit_write(builder.module, element, lanes, terms)
        builder.call(function, [state.data, rows, width, decays.data, *(x.data for x in sides)])
        return context.get_dummy_value()

    return codegen


@intrinsic
def write_once(typing: Any, state: Any, decays: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """`S <- diag(a) S + l r^T`; arrays without gaps, the rows of S in whole vectors."""
    return types.void(state, decays, left, right), _writer(1)


@intrinsic
def write_twice(
    typing: Any, state: Any, decays: Any, left: Any, right: Any, again: Any, other: Any
) -> tuple[Any, Any]:
    """`S <- diag(a) S + l r^T + l' r'^T`, likewise."""
    return types.void(state, decays, left, right, again, other), _writer(2)


@intrinsic
def number(typing: Any, code: Any, like: Any) -> tuple[Any, Any]:
    """One code as a number of the type of `like`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        widening = widening_of(context, signature.args[0], signature.args[1])
        plain = Widening(widening.code, widening.size, widening.element, hardware=False)
        return plain.widened(builder, args[0], 0)

    return like(code, like), codegen


def store_row(row: Any, codes: Any) -> Any:
    """Write numbers (width,) as codes (width,); returns the scale that codes are multiplied by."""
    raise NotImplementedError


def _as_float(row: Any, codes: Any) -> Any:
    for j in range(row.shape[0]):
        codes[j] = row[j]
    return row.dtype.type(1)


def _as_bfloat(row: Any, codes: Any) -> Any:
    for j in range(row.shape[0]):
        bits = np.int64(np.float32(row[j]).view(np.uint32))
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        codes[j] = rounded if row[j] == row[j] else 0x7FC0
    return row.dtype.type(1)


def _as_half(row: Any, codes: Any) -> Any:
    """A number is a whole multiple, up to 2048, of 2^(e - 10) with e its exponent, at least -14."""
    for j in range(row.shape[0]):
        x = np.float64(row[j])
        size = np.float64(min(abs(x), LARGEST_HALF))
        exponent = max(int(size.view(np.int64) >> 52) - 1023, -14)
        unit = np.int64((1023 + 10 - exponent) << 52).view(np.float64)
        code = np.int64(((exponent + 14) << 10) + np.int64(np.rint(size * unit)))
        if x != x:
            code = np.int64(0x7E00)
        codes[j] = code - 0x8000 if x.view(np.int64) < 0 else code
    return row.dtype.type(1)


def _as_integer(row: Any, codes: Any) -> Any:
    largest = row.dtype.type(0)
    for j in range(row.shape[0]):
        largest = max(largest, abs(row[j]))
    scale = row.dtype.type(np.float32(largest / row.dtype.type(LEVELS)))
    divisor = scale if scale > 0 else row.dtype.type(1)
    for j in range(row.shape[0]):
        codes[j] = min(max(np.rint(row[j] / divisor), -LEVELS), LEVELS)
    return scale


_STORES = {types.int16: _as_half, types.uint16: _as_bfloat, types.int8: _as_integer}


@overload(store_row, jit_options=EXACT)
def _store_row(row: Any, codes: Any) -> Any:
    return _STORES.get(codes.dtype, _as_float)
