"""What a readout works on in a graph, and what it gives back. All of one token."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from mcore.export import ops
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, RuleForm
from mcore.readout import Readout


@dataclass(frozen=True)
class Held:
    """The checkpoints that a graph holds, the oldest first, at the right of `slots` slots.

    Attributes:
        slots: S.
        checkpoints: (B, S, H, *state_shape).
        contexts: (B, S, H, K); None if the readout does not route.
        count: (B,) int64 how many are held.
    """

    slots: int
    checkpoints: Tensor
    contexts: Tensor | None
    count: Tensor

    @property
    def ordinal(self) -> Tensor:
        """(B, S) int64 the age order of each slot: 0 the oldest held; below 0 where it is empty."""
        place = ops.arange(self.count, self.slots) - self.slots
        return place + ops.expand(self.count, -1)

    @property
    def seen(self) -> Tensor:
        """(B, S) bool."""
        return ops.at_least(self.ordinal, 0)


@dataclass(frozen=True)
class Scene:
    """A token's view.

    Attributes:
        form: the recurrence.
        x: prepared inputs and parameters.
        online: (B, H, *state_shape) the memory into which the token was written.
        own: (B, H, K) context of the open segment, the token included; None without routing.
        held: the checkpoints.
        position: (B,) int64 tokens before it in the stream.
    """

    form: RuleForm
    x: Inputs
    online: Tensor
    own: Tensor | None
    held: Held
    position: Tensor

    @property
    def q(self) -> Tensor | None:
        """(B, H, K); None for vector rules."""
        return self.x.get("q")

    def online_answer(self) -> Tensor:
        """(B, H, V)."""
        return self.form.read(self.online, self.q)

    def answers(self) -> Tensor:
        """(B, S, H, V) of all checkpoints; of empty slots too, finite."""
        q = None if self.q is None else ops.expand(self.q, 1)
        return self.form.read(self.held.checkpoints, q)


class Answer(NamedTuple):
    """y (B, H, V), and the gates (B, S, H) of the checkpoints if the readout routes."""

    y: Tensor
    gates: Tensor | None = None


class ReadoutForm(ABC):
    """A readout's law, written with tensors: `mcore.readout` and `mcore.reading` have arrays."""

    def __init__(self, readout: Readout) -> None:
        self.readout = readout

    def complete(self, x: Inputs) -> dict[str, Tensor]:
        """The inputs with what routing needs, before the rule's own map; here as they are."""
        return dict(x)

    @abstractmethod
    def answer(self, scene: Scene) -> Answer:
        """The output of a token."""


def weighted(answers: Tensor, gates: Tensor) -> Tensor:
    """`sum_i gates_i answers_i`: (B, S, H, V), (B, S, 1 or H) -> (B, H, V)."""
    return ops.total(answers * ops.expand(gates, -1), 1)


def as_numbers(seen: Tensor) -> Tensor:
    """(B, S) bool to (B, S, 1) float32."""
    return ops.expand(ops.cast(seen, "float32"), -1)
