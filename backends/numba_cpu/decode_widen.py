"""How stored codes become numbers in registers, as LLVM IR.

Half precision converts in hardware where the host can, else by moving bits; integers convert
exactly. bfloat16 is the upper half of a float32: two codes that share a 32-bit lane are taken apart
by a shift and a mask, which keep up with memory where a widening shuffle does not.
"""

from dataclasses import dataclass
from typing import Any

from llvmlite import ir

_FLOAT, _INT32 = ir.FloatType(), ir.IntType(32)


@dataclass(frozen=True)
class Widening:
    """How codes become numbers.

    Attributes:
        code: `half` or `bfloat` as 16 bits, `int8`, `float` or `double`.
        size: bytes of a code.
        element: type of the numbers.
        hardware: whether the host converts half precision itself.
    """

    code: str
    size: int
    element: Any
    hardware: bool

    @property
    def shared(self) -> int:
        """Codes that share a 32-bit lane and are taken from it by masks; 1 for none."""
        return 2 if self.code == "bfloat" and self.element == _FLOAT else 1

    def stored(self, lanes: int) -> Any:
        """Type of a vector of codes in memory."""
        kinds = {"float": _FLOAT, "double": ir.DoubleType(), "int8": ir.IntType(8)}
        if self.code == "half" and self.hardware:
            return ir.VectorType(ir.HalfType(), lanes)
        return ir.VectorType(kinds.get(self.code, ir.IntType(16)), lanes)

    def widened(self, builder: Any, x: Any, lanes: int) -> Any:
        """Codes as numbers: a vector of `lanes`, or one if that is 0."""
        wide, element = _many(_FLOAT, lanes), _many(self.element, lanes)
        if self.code == "int8":
            return builder.sitofp(x, element)
        if self.code == "half":
            x = builder.fpext(x, wide) if self.hardware else _half(builder, x, lanes)
        elif self.code == "bfloat":
            bits = builder.zext(x, _many(_INT32, lanes))
            x = builder.bitcast(builder.shl(bits, _constant(16, lanes)), wide)
        return x if x.type == element else builder.fpext(x, element)

    def split(self, builder: Any, x: Any, lanes: int) -> list[Any]:
        """The two numbers of each 32-bit lane of x."""
        upper = builder.and_(x, _constant(-0x10000, lanes))
        parts = (builder.shl(x, _constant(16, lanes)), upper)
        return [builder.bitcast(part, ir.VectorType(_FLOAT, lanes)) for part in parts]


def _many(kind: Any, lanes: int) -> Any:
    return ir.VectorType(kind, lanes) if lanes else kind


def _constant(number: int, lanes: int) -> Any:
    return ir.Constant(_many(_INT32, lanes), [number] * lanes if lanes else number)


def _half(builder: Any, x: Any, lanes: int) -> Any:
    """Exponent and fraction move into place, 2^112 mends the exponent's bias; NaN stays NaN."""
    bits = builder.zext(x, _many(_INT32, lanes))
    magnitude = builder.and_(bits, _constant(0x7FFF, lanes))
    moved = builder.shl(magnitude, _constant(13, lanes))
    wide = _many(_FLOAT, lanes)
    power = ir.Constant(wide, [2.0**112] * lanes if lanes else 2.0**112)
    number = builder.fmul(builder.bitcast(moved, wide), power)
    special = builder.or_(moved, _constant(0x7F800000, lanes))
    ordinary = builder.icmp_unsigned("<", magnitude, _constant(0x7C00, lanes))
    found = builder.select(ordinary, builder.bitcast(number, _many(_INT32, lanes)), special)
    sign = builder.shl(builder.and_(bits, _constant(0x8000, lanes)), _constant(16, lanes))
    return builder.bitcast(builder.or_(found, sign), wide)
