"""What stands around the parts of a network: how a token comes in, and what is said of it.

`enter` and `last` see one token (B, ...); `leave` one token or, time first, all (T, B, ...).
"""

from collections.abc import Mapping

from mcore.export import ops
from mcore.export.algebra import rms_norm
from mcore.export.builder import Builder, Tensor
from mcore.export.declared import Declared
from mcore.export.program import Values
from mcore.model import Model
from mcore.model.network import EMBEDDING, FINAL, HEAD


class TokenEnds:
    """Tokens in, logits of tokens out."""

    def __init__(self, model: Model) -> None:
        self.layout, self.params = model.layout, model.params

    @property
    def input(self) -> Declared:
        """What comes in of a token."""
        meaning = f"the token, 0 to {self.layout.vocab - 1}"
        return Declared("tokens", "B", ("B",), meaning, "int64")

    @property
    def output(self) -> Declared:
        """What is said of a token."""
        meaning = "logits of the token that comes next"
        return Declared("logits", "B N", ("B", self.layout.vocab), meaning)

    def enter(self, tokens: Tensor) -> Tensor:
        """(B, D) of tokens (B,)."""
        return ops.rows_of(tokens.builder.weight(EMBEDDING, self.params[EMBEDDING]), tokens)

    def states(self) -> list[Declared]:
        """What the ends carry; here nothing."""
        return []

    def last(self, hidden: Tensor, state: Values, position: Tensor) -> tuple[Tensor, Values]:
        """What is done to a token (B, D) after all parts, and what is carried on; here nothing."""
        return hidden, {}

    def leave(self, builder: Builder, hidden: Tensor, x: Mapping[str, Tensor]) -> Tensor:
        """Logits (..., vocab) of hidden (..., D)."""
        weight = builder.weight(FINAL, self.params[FINAL])
        normal = rms_norm(hidden, weight, self.layout.width)
        head = self.params[EMBEDDING].T if self.layout.tied else self.params[HEAD]
        return ops.matmul(normal, builder.weight(HEAD, head))
