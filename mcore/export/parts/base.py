"""What a part of a network is in a graph: the part, its parameters, and what it does to a token."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcore.arrays import Array
from mcore.export.builder import Builder, Tensor
from mcore.export.declared import Declared
from mcore.export.facts import Bound

State = dict[str, Tensor]


@dataclass(frozen=True)
class Limits:
    """What bounds a graph whose model is not bounded.

    Attributes:
        max_segments: checkpoints held by a memory whose cache has no limit.
        max_tokens: tokens that attention without a window sees, the token itself included.
    """

    max_segments: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True)
class Around:
    """Where a part stands.

    Attributes:
        name: dotted, as its parameters are called.
        params: of this part alone.
        limits: what bounds it.
    """

    name: str
    params: Mapping[str, Array]
    limits: Limits

    def below(self, scope: str) -> "Around":
        """Of the part `scope` inside."""
        start = scope + "."
        inner = {n[len(start) :]: x for n, x in self.params.items() if n.startswith(start)}
        return Around(f"{self.name}.{scope}", inner, self.limits)

    def weight(self, builder: Builder, name: str) -> Tensor:
        """A parameter, under its name in the model."""
        return builder.weight(f"{self.name}.{name}", self.params[name])

    def piece(self, builder: Builder, name: str, value: Array) -> Tensor:
        """What is made of a parameter before the graph runs, under a name of its own."""
        return builder.weight(f"{self.name}.{name}", value)


class PartForm(ABC):
    """A part, written with tensors: `mcore.model` has the arrays."""

    def __init__(self, part: Any, around: Around) -> None:
        self.part, self.around = part, around

    def states(self) -> list[Declared]:
        """What it carries, but for the position; here nothing."""
        return []

    def bounds(self) -> list[Bound]:
        """Where its graph differs from the part; here nowhere."""
        return []

    @abstractmethod
    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        """y (B, D) of a token x (B, D), and what is carried on.

        `position` (B,) int64 counts the tokens before in the stream.
        """
