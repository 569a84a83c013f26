"""Write LLVM IR without the detours that the optimiser would have to take back.

Numba passes a named tuple of arrays as one scalar per field of each array, packs them into
aggregates on entry, and unpacks these wherever a field is read; each access to an array goes
through a variable of its own on the stack. In functions of many arrays this is nine tenths of the
IR. Here what was just packed or stored is handed back instead, and what nobody needs is dropped.
"""

from typing import Any

from llvmlite.ir import Constant, IRBuilder, PointerType, Undefined
from llvmlite.ir import instructions as op

_PURE = (op.InsertValue, op.ExtractValue, op.LoadInstr, op.GEPInstr, op.AllocaInstr)


class FoldingBuilder(IRBuilder):  # type: ignore[misc]
    """A builder that knows the parts of aggregates, and within a block what variables hold."""

    def __init__(self, block: Any) -> None:
        super().__init__(block)
        self._parts: dict[tuple[Any, Any, int], Any] = {}
        self._held: dict[Any, tuple[Any, Any]] = {}
        self._shared: set[Any] = set()
        self._wild = False

    def extract_value(self, agg: Any, idx: Any, name: str = "") -> Any:
        """The part of an aggregate, as it was inserted if it was."""
        for index in idx if isinstance(idx, tuple | list) else [idx]:
            agg = self._part(agg, index, name)
        return agg

    def _part(self, whole: Any, index: int, name: str) -> Any:
        source = whole
        while isinstance(source, op.InsertValue) and source.indices[0] != index:
            source = source.aggregate
        if isinstance(source, op.InsertValue) and len(source.indices) == 1:
            return source.value
        if isinstance(source, Constant) and source.constant in (None, Undefined):
            return Constant(source.type.elements[index], source.constant)
        key = (self.block, source, index)
        if key not in self._parts or not self._at_end():
            self._parts[key] = super().extract_value(source, index, name)
        return self._parts[key]

    def load(self, ptr: Any, name: str = "", align: Any = None, typ: Any = None) -> Any:
        """What a variable holds, if this block has stored it."""
        variable, index = _place(ptr)
        block, value = self._held.get(variable, (None, None))
        if block is not self.block or not self._at_end():
            return super().load(ptr, name, align, typ)
        return value if index is None else self.extract_value(value, index)

    def store(self, value: Any, ptr: Any, align: Any = None) -> Any:
        """Store, and remember."""
        stored = super().store(value, ptr, align)
        variable, index = _place(ptr)
        if variable is None:
            return stored
        block, whole = self._held.pop(variable, (None, None))
        if self._wild or variable in self._shared or not self._at_end():
            return stored
        if index is None:
            self._held[variable] = self.block, value
        elif block is self.block:
            self._held[variable] = self.block, self.insert_value(whole, value, index)
        return stored

    def _at_end(self) -> bool:
        written = self.block.instructions
        return self._anchor >= len(written) - bool(self.block.is_terminated)

    def _insert(self, instr: Any) -> None:
        super()._insert(instr)
        if isinstance(instr, op.LoadInstr) or _place(instr)[0] is not None:
            return
        if isinstance(instr, op.PhiInstr) and isinstance(instr.type, PointerType):
            self._wild = True
            self._held.clear()
        stores = isinstance(instr, op.StoreInstr)
        for pointer in instr.operands[:1] if stores else instr.operands:
            self._share(pointer)

    def _share(self, pointer: Any) -> None:
        """A variable whose address is known elsewhere may change at any time."""
        while isinstance(pointer, op.GEPInstr):
            pointer = pointer.pointer
        if isinstance(pointer, op.AllocaInstr):
            self._shared.add(pointer)
            self._held.pop(pointer, None)


def _place(pointer: Any) -> tuple[Any, int | None]:
    """The variable that a pointer points to, and which part of it; (None, None) if unknown."""
    if isinstance(pointer, op.AllocaInstr):
        return (None, None) if pointer.operands else (pointer, None)
    if not isinstance(pointer, op.GEPInstr) or not isinstance(pointer.pointer, op.AllocaInstr):
        return None, None
    first, *rest = (getattr(index, "constant", None) for index in pointer.indices)
    if first != 0 or len(rest) != 1 or not isinstance(rest[0], int) or pointer.pointer.operands:
        return None, None
    if not hasattr(pointer.pointer.allocated_type, "elements"):
        return None, None
    return pointer.pointer, rest[0]


def sweep(function: Any) -> None:
    """Drop what computes what nobody reads, and variables that are only written."""
    todo, stores = [], dict[Any, list[Any]]()
    for block in function.blocks:
        for instr in block.instructions:
            if isinstance(instr, op.StoreInstr) and (variable := _base(instr.operands[1])):
                stores.setdefault(variable, []).append(instr)
            elif not isinstance(instr, _PURE):
                todo.append(instr)
    live = set(todo)
    while todo:
        instr = todo.pop()
        needed = [*instr.operands, *(value for value, _ in getattr(instr, "incomings", ()))]
        needed += stores.get(instr, ())
        fresh = {x for x in needed if isinstance(x, op.Instruction)} - live
        live |= fresh
        todo += fresh
    for block in function.blocks:
        block.instructions[:] = [x for x in block.instructions if x in live]


def _base(pointer: Any) -> Any:
    """The variable that a pointer is certain to point into, if any."""
    while isinstance(pointer, op.GEPInstr):
        pointer = pointer.pointer
    return pointer if isinstance(pointer, op.AllocaInstr) else None
