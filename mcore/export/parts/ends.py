"""What stands around the parts of a network: how a token comes in, and what is said of it.

`enter` and `last` see one token (B, ...); `leave` one token or, time first, all (T, B, ...).
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from mcore.arrays import Array
from mcore.errors import SpecError
from mcore.export import ops
from mcore.export.algebra import rms_norm
from mcore.export.builder import Builder, Tensor
from mcore.export.declared import Declared
from mcore.export.parts.series_ends import SeriesForm
from mcore.export.program import Values
from mcore.model import Model
from mcore.model.network import EMBEDDING, FINAL, HEAD
from mcore.model.series_ends import SeriesEnds
from mcore.model.token_ends import TokenEnds


class EndsForm(Protocol):
    """The first and the last step of a network."""

    input: Declared
    output: Declared

    def states(self) -> list[Declared]:
        """What the ends carry."""

    def enter(self, x: Tensor) -> Tensor:
        """(B, D) of what comes in."""

    def last(self, hidden: Tensor, state: Values, position: Tensor) -> tuple[Tensor, Values]:
        """What is done to a token (B, D) after all parts, and what is carried on."""

    def leave(self, builder: Builder, hidden: Tensor, x: Mapping[str, Tensor]) -> Tensor:
        """The output from hidden (..., D), beside what came in."""

    def sample(self, rng: np.random.Generator, rows: int, tokens: int) -> Array:
        """Random data (B, T, ...), to compare a graph with its model on."""


def ends_form(model: Model) -> EndsForm:
    """What stands around the parts of a model.

    Raises:
        SpecError: nobody has written it down as a graph.
    """
    ends = model.layout.ends
    if isinstance(ends, SeriesEnds):
        return SeriesForm(model, ends)
    if isinstance(ends, TokenEnds):
        return TokenForm(model)
    kind = type(ends).__name__
    raise SpecError(f"data: {kind} has no ONNX form; models of tokens and of series have")


class TokenForm:
    """Tokens in, logits of tokens out."""

    def __init__(self, model: Model) -> None:
        self.layout, self.params, vocab = model.layout, model.params, model.vocab
        self.input = Declared("tokens", "B", ("B",), f"the token, 0 to {vocab - 1}", "int64")
        meaning = "logits of the token that comes next"
        self.output = Declared("logits", "B N", ("B", vocab), meaning)

    def enter(self, x: Tensor) -> Tensor:
        """A row of the table for each token (B,)."""
        return ops.rows_of(x.builder.weight(EMBEDDING, self.params[EMBEDDING]), x)

    def states(self) -> list[Declared]:
        """Nothing."""
        return []

    def last(self, hidden: Tensor, state: Values, position: Tensor) -> tuple[Tensor, Values]:
        """Nothing."""
        return hidden, {}

    def leave(self, builder: Builder, hidden: Tensor, x: Mapping[str, Tensor]) -> Tensor:
        """Logits (..., vocab) of hidden (..., D)."""
        weight = builder.weight(FINAL, self.params[FINAL])
        normal = rms_norm(hidden, weight, self.layout.width)
        if self.layout.tied:
            table = builder.weight(EMBEDDING, self.params[EMBEDDING])
            return ops.matmul(normal, ops.transpose(table, (1, 0)))
        return ops.matmul(normal, builder.weight(HEAD, self.params[HEAD]))

    def sample(self, rng: np.random.Generator, rows: int, tokens: int) -> Array:
        """Any tokens (B, T)."""
        return rng.integers(0, self.layout.vocab, (rows, tokens))
