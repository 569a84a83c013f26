"""A token's inputs, in the order in which decoding kernels take them."""

from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Decoding
from mcore.backends.cupy_gpu.decode_plan import VECTORS
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
    gates = (x("gate_online"), x("gate_bias"))
    if decoding.rule.kind in VECTORS:
        cell = (x("x"), x("recurrent"), x("recurrent_bias"))
        return Token((*cell, x("k"), u, x("temperature"), *gates), (None, x("gate_cached")))
    decay = x("log_decay", x("fgate"))
    by_channel = decoding.rule.inputs.get("log_decay") == "B T H K"
    decays = (None, decay) if by_channel else (decay, None)
    strengths = (x("beta", x("igate")), x("beta_prev"), x("kk"), x("a"))
    written = (x("q"), x("k"), x("v"), u, x("temperature"), *decays, *strengths, *gates)
    return Token(written, (x("q"), x("gate_cached")))
