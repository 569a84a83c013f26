"""What a memory layer needs to know of a readout."""

from abc import ABC
from typing import ClassVar

from mcore.arrays import Array
from mcore.recurrence import Inputs, Law
from mcore.router import Router
from mcore.segments import Segments


class Readout(ABC):
    """Base of the readouts."""

    kind: ClassVar[str]
    mixes_states: ClassVar[bool] = False
    """Whether memories are mixed before they are read (soup), instead of their answers."""

    answers_gate: ClassVar[bool] = False
    """Whether gates are per channel and made from the memories' own answers (sigmoid)."""

    @property
    def inputs(self) -> dict[str, str]:
        """Declared inputs of its own: name -> axes. Those without T are parameters."""
        return {}

    @property
    def features(self) -> dict[str, Law]:
        """How a memory layer makes each of them, as `Recurrence.features`."""
        return {}

    @property
    def reads_cache(self) -> bool:
        """Whether checkpoints are read at all."""
        return True

    @property
    def routing(self) -> Router | None:
        """How gates are computed from queries and the contexts, or None if they are not."""
        return None

    def complete(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """The inputs with what routing needs, before the rule's own map; here as they are."""
        return inputs

    def complete_backward(self, d_inputs: dict[str, Array]) -> dict[str, Array]:
        """Gradient of `complete`."""
        return d_inputs

    def queries(self, inputs: Inputs) -> Array:
        """(B, T, H, K) what is compared with contexts; logits are `<query, context> / sqrt(K)`."""
        return inputs["u"]

    def queries_backward(self, inputs: Inputs, d_queries: Array) -> dict[str, Array]:
        """Gradients of `queries`, by input."""
        return {"u": d_queries}

    def constant_gates(self, segments: Segments) -> Array:
        """(B, S, columns + 1) constant gates per segment, the online memory last."""
        raise NotImplementedError(f"readout {self.kind} has no constant gates")
