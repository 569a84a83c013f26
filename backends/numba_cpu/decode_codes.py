"""Checkpoints as codes inside kernels: `store_row`, `number`, and products with them, `add_product`.

Arrays of codes tell by their type what they hold: int16 is half precision, uint16 is bfloat16 (the
upper half of a float32), int8 whole numbers with a scale per row; float32 and float64 themselves.
Rounding is that of `mcore.cache.compact`, to the bit.
"""

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import TypingError
from numba.extending import intrinsic, overload

from mcore.arrays import Array
from mcore.backends.numba_cpu import host
from mcore.backends.numba_cpu.caching import EXACT
from mcore.backends.numba_cpu.decode_emit import Widening, emit_product
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


def _widening(context: Any, code: Any, element: Any) -> Widening:
    if code not in _CODES:
        raise TypingError(f"{code} holds no checkpoints")
    size = context.get_abi_sizeof(context.get_data_type(code))
    return Widening(_CODES[code], size, context.get_data_type(element), host.converts_half())


@intrinsic
def add_product(typing: Any, codes: Any, w: Any, y: Any) -> tuple[Any, Any]:
    """`y += w C`: codes (rows, width) without gaps, w (rows,), y (width,), width in whole vectors."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, args, strict=True)
        ]
        widening = _widening(context, signature.args[0].dtype, signature.args[1].dtype)
        lanes, fused = host.lanes(context.get_abi_sizeof(widening.element))
        rows = builder.extract_value(arrays[0].shape, 0)
        width = builder.extract_value(arrays[0].shape, 1)
        place, w_at, y_at = (array.data for array in arrays)
        function = emit_product(builder.module, widening, lanes, fused)
        start = builder.bitcast(place, function.args[0].type)
        builder.call(function, [start, rows, width, w_at, y_at])
        return context.get_dummy_value()

    return types.void(codes, w, y), codegen


@intrinsic
def number(typing: Any, code: Any, like: Any) -> tuple[Any, Any]:
    """One code as a number of the type of `like`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        widening = _widening(context, signature.args[0], signature.args[1])
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
        size = min(abs(x), LARGEST_HALF)
        exponent = max((np.float64(size).view(np.int64) >> 52) - 1023, -14)
        unit = np.int64((1023 + 10 - exponent) << 52).view(np.float64)
        code = ((exponent + 14) << 10) + np.int64(np.rint(size * unit))
        if x != x:
            code = 0x7E00
        codes[j] = code - 0x8000 if np.float64(x).view(np.int64) < 0 else code
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
