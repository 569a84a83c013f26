"""What the decoding kernel whose gates are made of answers works on beside what all do."""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import borrowed
from mcore.backends.numba_cpu.decode_work import PANEL, Token, borrowed_token

ROWS = 16
"""Checkpoints whose gates are one product."""


class GatedToken(NamedTuple):
    """The entries of a `Token`, and what makes gates of answers.

    Attributes:
        online, cached, bias: (H, V, V), (H, V, V), (H, V).
    """

    q: Any
    k: Any
    v: Any
    u: Any
    decay: Any
    beta: Any
    more: Any
    decays: Any
    removal: Any
    strength: Any
    temperature: Any
    online: Any
    cached: Any
    bias: Any


class Gates(NamedTuple):
    """What makes gates of answers, and scratch.

    Attributes:
        online, cached, bias: as in `GatedToken`.
        base: (P,) what all gates of a token share.
        answers, logits: (ROWS, P) of some checkpoints.
    """

    online: Any
    cached: Any
    bias: Any
    base: Any
    answers: Any
    logits: Any


@device
def plain_token(inputs: Any) -> Any:
    """The `Token` among the entries of a `GatedToken`, uncounted."""
    q, k, v, u, decay, beta, more, decays, removal, strength, temperature, _, _, _ = inputs
    token = Token(q, k, v, u, decay, beta, more, decays, removal, strength, temperature)
    return borrowed_token(token)


@device
def gates_of(inputs: Any, memory: Any, work: Any) -> Any:
    """The rest of them, uncounted, with scratch that `space` has behind the logits."""
    _, _, _, _, _, _, _, _, _, _, _, online, cached, bias = inputs
    padded, panels = work.y.shape[0], (memory.codes.shape[2] + PANEL - 1) // PANEL
    numbers = work.logits[panels * PANEL :]
    base, rest = numbers[:padded], numbers[padded:]
    size = ROWS * padded
    return Gates(
        borrowed(online),
        borrowed(cached),
        borrowed(bias),
        base,
        rest[:size].reshape((ROWS, padded)),
        rest[size : 2 * size].reshape((ROWS, padded)),
    )
