"""What other libraries call: a memory or a model as two functions of NumPy arrays by name.

Backward runs the forward again, unless its caller kept what the forward saved. JAX cannot: a
transformation calls the two as often as it likes, in any order, or one of them alone (a traced
function that is never differentiated, a loop that is rematerialised, a mapped call), and what is
held on the host by some handle would leak, or be of other numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple

from mcore.arrays import Array
from mcore.interop.mapped import Arrays, over_mapped
from mcore.interop.state import FLOATS, State, pack, pack_gradient, unpack, unpack_gradient

if TYPE_CHECKING:
    from mcore.cache import MemoryState
    from mcore.memory_layer import Memory
    from mcore.model import Model

Saved = Any

SECOND_DERIVATIVES = (
    "second derivatives: mcore's gradients are written by hand, and those of gradients are not; "
    "first derivatives, or an implementation of the layer in your own library, would do"
)

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


class Axes(NamedTuple):
    """How mapped axes are told and treated; see `mcore.interop.mapped`.

    Attributes:
        ranks: number of axes of each array that are not mapped.
        rows: names of the arrays that have rows, in forward; empty if rows are not alike.
        backward_rows: the same in backward; empty also if a gradient is summed over rows.
    """

    ranks: Mapping[str, int]
    rows: frozenset[str]
    backward_rows: frozenset[str]


class Host(ABC):
    """Forward and backward of arrays by name, with or without mapped axes in front."""

    def __init__(self, axes: Axes) -> None:
        self._axes = axes

    def forward(self, arrays: Arrays) -> Arrays:
        """Outputs by name."""
        ranks, rows, _ = self._axes
        return over_mapped(lambda x: self._run(x)[0], arrays, ranks, rows)

    def forward_saved(self, arrays: Arrays) -> tuple[Arrays, Saved]:
        """Outputs, and what spares `backward` the forward; None where axes are mapped."""
        return (self.forward(arrays), None) if self._maps(arrays) else self._run(arrays)

    def backward(self, arrays: Arrays, saved: Saved = None) -> Arrays:
        """Gradients by the names of the inputs, of those inputs and gradients of the outputs."""
        if saved is not None and not self._maps(arrays):
            return self._gradients(arrays, saved)
        ranks, _, rows = self._axes
        return over_mapped(lambda x: self._gradients(x, self._run(x)[1]), arrays, ranks, rows)

    def _maps(self, arrays: Arrays) -> bool:
        return any(x.ndim > self._axes.ranks[name] for name, x in arrays.items())

    @abstractmethod
    def _run(self, arrays: Arrays) -> tuple[Arrays, Saved]:
        """Outputs, and what `_gradients` needs, of arrays without mapped axes."""

    @abstractmethod
    def _gradients(self, arrays: Arrays, saved: Saved) -> Arrays:
        """Gradients of inputs."""


class HostMemory(Host):
    """A memory: of its inputs, `document`, and the state it goes on from as `state.online` etc.

    Outputs are `y` and, if a state came in, `end.online` etc.; backward takes gradients of y as
    `dy` and of the end's floating-point arrays by their own names.
    """

    def __init__(self, memory: "Memory") -> None:
        self.memory = memory
        state = STATE_AXES._asdict()
        axes = dict(memory.inputs) | {"document": "B T", "dy": "B T H V"}
        axes |= {f"{part}.{name}": a for part in ("state", "end") for name, a in state.items()}
        by_row = frozenset(name for name, a in axes.items() if a.startswith("B"))
        parameters = memory.inputs.keys() - by_row
        rows = frozenset[str]() if memory.segmentation.names_rows else by_row
        ranks = {name: len(a.split()) for name, a in axes.items()}
        super().__init__(Axes(ranks, rows, frozenset() if parameters else rows))

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


class HostModel(Host):
    """A model: of its parameters, `tokens` and `document`; the output is `logits`.

    Backward takes `dlogits` as well. Gradients of parameters are summed over rows.
    """

    def __init__(self, model: "Model") -> None:
        self.model = model
        ranks = {name: x.ndim for name, x in model.params.items()}
        ranks |= {"tokens": 2, "document": 2, "dlogits": 3}
        rows = frozenset[str]() if model.layout.names_rows else frozenset({"tokens", "document"})
        super().__init__(Axes(ranks, rows, frozenset()))

    def _run(self, arrays: Arrays) -> tuple[Arrays, Saved]:
        model = self._with(arrays)
        logits, saved = model.forward(arrays["tokens"], document=arrays.get("document"))
        return {"logits": logits}, saved

    def _gradients(self, arrays: Arrays, saved: Saved) -> Arrays:
        return self._with(arrays).backward(saved, arrays["dlogits"])

    def _with(self, params: Mapping[str, Array]) -> "Model":
        """The model with other parameters."""
        other = copy(self.model)
        other.params = {name: params[name] for name in self.model.params}
        return other
