"""Vectors in hand-written LLVM IR: loads, stores, masks, fused multiply-add, shuffles."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

INDEX = ir.IntType(64)


def outlined(module: Any, name: str, arguments: Sequence[Any]) -> tuple[Any, Any]:
    """The function `name` of a module, and a builder at its start if it is yet to be written.

    It is called, neither inlined nor cloned: a call site costs one instruction.
    """
    if name in module.globals:
        return module.globals[name], None
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    # Without this LLVM clones the function for every combination of constant arguments.
    function.attributes.add("noduplicate")
    return function, ir.IRBuilder(function.append_basic_block("entry"))


class Vectors:
    """Loads, stores and arithmetic on vectors of one element type."""

    def __init__(self, builder: Any, element: Any, lanes: int) -> None:
        self.builder, self.element, self.lanes = builder, element, lanes
        self.type = ir.VectorType(element, lanes)
        whole = isinstance(element, ir.IntType)
        self.bits = element.width if whole else 32 if isinstance(element, ir.FloatType) else 64
        self.name = f"v{lanes}{'i' if whole else 'f'}{self.bits}"
        self.align = self.bits // 8
        self.mask_type = ir.VectorType(ir.IntType(1), lanes)

    def _intrinsic(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        module = self.builder.module
        return cgutils.get_or_insert_function(module, ir.FunctionType(result, arguments), name)

    def _cast(self, pointer: Any) -> Any:
        return self.builder.bitcast(pointer, self.type.as_pointer())

    def zero(self) -> Any:
        return self.constant(0 if isinstance(self.element, ir.IntType) else 0.0)

    def constant(self, number: float) -> Any:
        """A vector of equal numbers."""
        return ir.Constant(self.type, [self.element(number)] * self.lanes)

    def splat(self, scalar: Any) -> Any:
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, lanes)

    def load(self, pointer: Any, mask: Any = None) -> Any:
        if mask is None:
            return self.builder.load(self._cast(pointer), align=self.align)
        place = self.type.as_pointer()
        arguments = [place, ir.IntType(32), self.mask_type, self.type]
        masked = self._intrinsic(f"llvm.masked.load.{self.name}.p0", self.type, arguments)
        align = ir.IntType(32)(self.align)
        return self.builder.call(masked, [self._cast(pointer), align, mask, self.zero()])

    def store(self, vector: Any, pointer: Any, mask: Any = None) -> None:
        if mask is None:
            self.builder.store(vector, self._cast(pointer), align=self.align)
            return
        place = self.type.as_pointer()
        arguments = [self.type, place, ir.IntType(32), self.mask_type]
        masked = self._intrinsic(f"llvm.masked.store.{self.name}.p0", ir.VoidType(), arguments)
        align = ir.IntType(32)(self.align)
        self.builder.call(masked, [vector, self._cast(pointer), align, mask])

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        fma = self._intrinsic(f"llvm.fma.{self.name}", self.type, [self.type] * 3)
        return self.builder.call(fma, [a, b, c])

    def first(self, count: Any) -> Any:
        """Mask of the first `count` lanes."""
        lane_type = ir.VectorType(INDEX, self.lanes)
        undefined = ir.Constant(lane_type, ir.Undefined)
        one = self.builder.insert_element(undefined, count, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        counts = self.builder.shuffle_vector(one, undefined, zeros)
        lanes = ir.Constant(lane_type, list(range(self.lanes)))
        return self.builder.icmp_signed("<", lanes, counts)

    def shuffle(self, a: Any, b: Any, picks: Sequence[int]) -> Any:
        """Lanes `picks` of the concatenation of `a` and `b`."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(picks)), list(picks))
        return self.builder.shuffle_vector(a, b, mask)

    def prefetch(self, pointer: Any) -> None:
        """Ask for the line at `pointer`, which will be written to."""
        number = ir.IntType(32)
        kinds = [ir.IntType(8).as_pointer(), number, number, number]
        ask = self._intrinsic("llvm.prefetch.p0", ir.VoidType(), kinds)
        place = self.builder.bitcast(pointer, kinds[0])
        self.builder.call(ask, [place, number(1), number(3), number(1)])
