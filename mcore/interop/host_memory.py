"""A memory's forward and backward, as other libraries call them."""

from typing import TYPE_CHECKING

from mcore.interop.host import Axes, Host, Saved
from mcore.interop.mapped import Arrays, Folding
from mcore.interop.parameters import parameter_names
from mcore.interop.state import FLOATS, State, pack, pack_gradient, unpack, unpack_gradient
from mcore.segmentation import Adaptive

if TYPE_CHECKING:
    from mcore.cache import MemoryState
    from mcore.memory_layer import Memory

STATES = ("state", "end")
"""What came in, and what goes out."""

STATE_AXES = State(
    online="B H P",
    checkpoints="B slots H P",
    contexts="B slots H K",
    keys="B H K",
    ledger="B slots entry half",
    position="B",
    length="B",
    count="B",
    document="B",
)


class HostMemory(Host):
    """A memory: of its inputs, `document`, and the state it goes on from as `state.online` etc.

    Outputs are `y` and, if a state came in, `end.online` etc.; backward takes gradients of y as
    `dy` and of the end's floating-point arrays by their own names.
    """

    def __init__(self, memory: "Memory") -> None:
        self.memory = memory
        state = STATE_AXES._asdict()
        axes = dict(memory.inputs) | {"document": "B T", "dy": "B T H V"}
        axes |= {f"{part}.{name}": a for part in STATES for name, a in state.items()}
        ranks = {name: len(a.split()) for name, a in axes.items()}
        super().__init__(Axes(ranks, *_foldings(memory)))

    def _run(self, arrays: Arrays) -> tuple[Arrays, Saved]:
        inputs, state = self._inputs(arrays), self._state(arrays)
        y, saved = self.memory.forward(inputs, state, document=arrays.get("document"))
        if state is None:
            return {"y": y}, saved
        end = pack(saved.end, arrays["state.checkpoints"].shape[1], self.memory.dtype)
        return {"y": y} | {f"end.{name}": x for name, x in end._asdict().items()}, saved

    def _gradients(self, arrays: Arrays, saved: Saved) -> Arrays:
        if "state.online" not in arrays:
            return self.memory.backward(saved, arrays["dy"])
        d_end = unpack_gradient({name: arrays[f"end.{name}"] for name in FLOATS}, saved.end)
        grads = self.memory.backward(saved, arrays["dy"], d_end)
        packed = pack_gradient(grads.pop("state"), arrays["state.checkpoints"].shape[1])
        return grads | {f"state.{name}": x for name, x in packed.items()}

    def _inputs(self, arrays: Arrays) -> Arrays:
        return {name: arrays[name] for name in self.memory.inputs}

    def _state(self, arrays: Arrays) -> "MemoryState | None":
        if "state.online" not in arrays:
            return None
        state = State(*(arrays[f"state.{name}"] for name in State._fields))
        return unpack(self.memory, state, self.memory.rule.dims(self._inputs(arrays)))


def _foldings(memory: "Memory") -> tuple[list[Folding], list[Folding]]:
    """Those of a memory's forward, and of its backward.

    Gradients of parameters are summed over rows, but not over heads. Heads are folded where nothing
    looks at several at once, as content-based cuts do, or at a head's number, as lots do; states
    are not folded so, as their counts are by row.
    """
    parameters = frozenset(parameter_names(memory))
    router, axes = memory.readout.routing, memory.inputs | {"dy": "B T H V", "y": "B T H V"}
    others = ["document", *(f"{part}.{name}" for part in STATES for name in State._fields)]
    by_row = Folding({name: 0 for name in (*axes, *others) if name not in parameters}, parameters)
    rows = [] if memory.segmentation.names_rows else [by_row]
    apart = router is None or router.seed is None
    if isinstance(memory.segmentation, Adaptive) or not apart:
        return rows, [] if parameters else rows
    heads = {name: a.split().index("H") for name, a in axes.items()}
    by_head = [Folding(heads, frozenset({"document"}))]
    return rows + by_head, by_head if parameters else rows + by_head
