"""What other libraries call: a memory or a model as two functions of NumPy arrays by name.

Nothing is kept from forward to backward: backward runs the forward again. Transformations of the
host library call the two as often as they like, in any order, or not at all (a traced function that
is never differentiated, a loop that is rematerialised, a mapped call), and a memory's `saved` held
here by some handle would then leak, or be of other numbers.
"""

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING

from mcore.arrays import Array
from mcore.interop.mapped import Arrays, over_mapped
from mcore.interop.state import FLOATS, State, pack, pack_gradient, unpack, unpack_gradient

if TYPE_CHECKING:
    from mcore.cache import MemoryState
    from mcore.memory_layer import Memory
    from mcore.model import Model

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


class HostMemory:
    """A memory's forward and backward, of arrays with mapped axes in front.

    Names are those of the memory's inputs, `document`, `state.online` and so on; backward also
    takes `dy` and `end.online` and so on, the gradients of what forward returned under such names.
    """

    def __init__(self, memory: "Memory") -> None:
        self.memory = memory
        state = STATE_AXES._asdict()
        axes = dict(memory.inputs) | {"document": "B T", "dy": "B T H V"}
        axes |= {f"{part}.{name}": a for part in ("state", "end") for name, a in state.items()}
        self._ranks = {name: len(a.split()) for name, a in axes.items()}
        by_row = frozenset(name for name, a in axes.items() if a.startswith("B"))
        wholes = memory.inputs.keys() - by_row
        named = memory.segmentation.names_rows
        self._rows = frozenset() if named else by_row
        # The gradient of a parameter is summed over the rows of a call.
        self._backward_rows = frozenset() if named or wholes else by_row

    def forward(self, arrays: Arrays) -> Arrays:
        """`y`, and the state at the end if one came in."""
        return over_mapped(self._forward, arrays, self._ranks, self._rows)

    def backward(self, arrays: Arrays) -> Arrays:
        """Gradients of all inputs, and of the state's floating-point arrays."""
        return over_mapped(self._backward, arrays, self._ranks, self._backward_rows)

    def _forward(self, arrays: Arrays) -> Arrays:
        inputs, state = self._inputs(arrays), self._state(arrays)
        y, saved = self.memory.forward(inputs, state, document=arrays.get("document"))
        if state is None:
            return {"y": y}
        end = pack(saved.end, arrays["state.checkpoints"].shape[1], self.memory.dtype)
        return {"y": y} | {f"end.{name}": x for name, x in end._asdict().items()}

    def _backward(self, arrays: Arrays) -> Arrays:
        inputs, state = self._inputs(arrays), self._state(arrays)
        _, saved = self.memory.forward(inputs, state, document=arrays.get("document"))
        if state is None:
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


class HostModel:
    """A model's logits and their gradients, as functions of its parameters too.

    Names are those of the parameters, `tokens` and `document`; backward also takes `dlogits`.
    """

    def __init__(self, model: "Model") -> None:
        self.model = model
        self._ranks = {name: x.ndim for name, x in model.params.items()}
        self._ranks |= {"tokens": 2, "document": 2, "dlogits": 3}
        named = model.layout.names_rows
        self._rows = frozenset() if named else frozenset({"tokens", "document"})

    def forward(self, arrays: Arrays) -> Arrays:
        """`logits` (B, T, vocab)."""
        return over_mapped(self._forward, arrays, self._ranks, self._rows)

    def backward(self, arrays: Arrays) -> Arrays:
        """Gradients of all parameters, which are summed over the rows of a call."""
        return over_mapped(self._backward, arrays, self._ranks, frozenset())

    def _forward(self, arrays: Arrays) -> Arrays:
        model = self._with(arrays)
        return {"logits": model.forward(arrays["tokens"], document=arrays.get("document"))[0]}

    def _backward(self, arrays: Arrays) -> Arrays:
        model = self._with(arrays)
        _, saved = model.forward(arrays["tokens"], document=arrays.get("document"))
        return model.backward(saved, arrays["dlogits"])

    def _with(self, params: Mapping[str, Array]) -> "Model":
        """The model with other parameters."""
        other = copy(self.model)
        other.params = {name: params[name] for name in self.model.params}
        return other
