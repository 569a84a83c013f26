"""A token's inputs, in the order in which decoding kernels take them."""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.recurrence import Inputs

Given = tuple[Array | None, ...]


class Token(NamedTuple):
    """One token's inputs; None where the composition has none.

    Attributes:
        written: those of the kernel that writes it.
        asked: the query, and what makes gates of checkpoints' answers.
    """

    written: Given
    asked: Given


def token_of(decoding: Decoding, inputs: Inputs) -> Token:
    """A token's arrays, as they are: the kernels do the rest."""
    x = inputs.get
    u = x("u", x("q")) if decoding.readout.routing is not None else None
    decay = x("log_decay", x("fgate"))
    by_channel = decoding.rule.inputs.get("log_decay") == "B T H K"
    decays = (None, decay) if by_channel else (decay, None)
    strengths = (x("beta", x("igate")), x("beta_prev"), x("kk"), x("a"))
    gates = (x("gate_online"), x("gate_bias"))
    written = (x("q"), x("k"), x("v"), u, x("temperature"), *decays, *strengths, *gates)
    return Token(written, (x("q"), x("gate_cached")))
