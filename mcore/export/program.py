"""What happens at one token, with all that goes in and comes out: what graphs are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mcore.export.builder import Builder, Tensor
from mcore.export.declared import Declared

Values = dict[str, Tensor]


class Body(Protocol):
    """One token, written as nodes of a graph."""

    def __call__(
        self, builder: Builder, x: Mapping[str, Tensor], state: Mapping[str, Tensor]
    ) -> tuple[Tensor, Values]:
        """The output of a token, and the states after it.

        Args:
            builder: of the graph that the nodes go into.
            x: the token's inputs and the parameters, by name.
            state: the states before it.
        """


Leave = Callable[[Builder, Tensor, Mapping[str, Tensor]], Tensor]
"""Output (..., B, .) from `hidden` and the inputs, of one token or, time first, of all of them."""


@dataclass(frozen=True)
class Program:
    """A stream, token by token.

    Attributes:
        inputs: of a token; their first axis is B.
        parameters: inputs that are the same for all tokens.
        output: of a token.
        states: what is carried from token to token; all zeros before the first.
        body: what happens at a token; gives `hidden`.
        hidden: what the body says of a token.
        leave: the output from that; it stands outside the loop over tokens.
        facts: what else is to be said of it: metadata of the graphs.
    """

    inputs: list[Declared]
    parameters: list[Declared]
    output: Declared
    states: list[Declared]
    body: Body
    hidden: Declared
    leave: Leave
    facts: dict[str, str] = field(default_factory=dict)
