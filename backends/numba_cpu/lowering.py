"""Lower Numba IR to LLVM IR: variables that are assigned once are values, not places on the stack.

Numba does so only for variables that live within one block.
"""

from collections import Counter
from typing import Any

from numba.core import ir
from numba.core.analysis import compute_cfg_from_blocks, compute_use_defs, must_use_alloca
from numba.core.lowering import Lower

from mcore.backends.numba_cpu.folding import FoldingBuilder, sweep


class KernelLower(Lower):  # type: ignore[misc]
    """Numba's lowering for functions that count no references."""

    def setup_function(self, fndesc: Any) -> None:
        """With a builder that folds."""
        super().setup_function(fndesc)
        self.builder = FoldingBuilder(self.entry_block)
        self.call_helper = self.call_conv.init_call_helper(self.builder)

    def lower_normal_function(self, fndesc: Any) -> None:
        """Lower, and drop what is not needed."""
        super().lower_normal_function(fndesc)
        sweep(self.function)

    def _find_singly_assigned_variable(self) -> None:
        self._blk_local_varmap: dict[str, Any] = {}
        self._singly_assigned_vars = _values(self.blocks)

    def storevar(self, value: Any, name: str, argidx: int | None = None) -> None:
        """Store the value: what was there needs no release."""
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self.builder.store(value, self.getvar(name))

    def delvar(self, name: str) -> None:
        """Nothing: no variable owns anything."""


def _values(blocks: dict[int, Any]) -> set[str]:
    """Variables with a single assignment that every reader has passed before, in the order of
    lowering too."""
    use_defs, dominators = compute_use_defs(blocks), compute_cfg_from_blocks(blocks).dominators()
    assigned = Counter(
        step.target.name for block in blocks.values() for step in block.find_insts(ir.Assign)
    )
    places = {name: at for at, names in use_defs.defmap.items() for name in names}
    once = {name for name in places if assigned[name] == 1} - must_use_alloca(blocks)
    for at, names in use_defs.usemap.items():
        once -= {x for x in names & once if places[x] >= at or places[x] not in dominators[at]}
    return once
