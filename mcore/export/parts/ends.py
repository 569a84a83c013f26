"""What stands around the parts of a network: how a token comes in, and what is said of it.

Each function is pointwise over tokens: its tensor may be (B, ...) or (T, B, ...).
"""

from mcore.export import ops
from mcore.export.algebra import rms_norm
from mcore.export.builder import Builder, Tensor
from mcore.export.declared import Declared
from mcore.model import Model
from mcore.model.network import EMBEDDING, FINAL, HEAD


class Ends:
    """Tokens in, logits out."""

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
        """(..., D) of tokens (...)."""
        return ops.rows_of(tokens.builder.weight(EMBEDDING, self.params[EMBEDDING]), tokens)

    def leave(self, builder: Builder, x: Tensor) -> Tensor:
        """Logits (..., vocab) of x (..., D)."""
        width = self.layout.width
        x = rms_norm(x, builder.weight(FINAL, self.params[FINAL]), width)
        head = self.params[EMBEDDING].T if self.layout.tied else self.params[HEAD]
        return ops.matmul(x, builder.weight(HEAD, head))
