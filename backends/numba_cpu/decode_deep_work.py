"""What decoding kernels of deep memories work on beside what all do."""

from typing import Any, NamedTuple

from mcore.backends.numba_cpu.caching import device
from mcore.backends.numba_cpu.decode_codes import borrowed

BEFORE, HIDDEN, SLOPE, DOWN = range(4)
SCRATCH = 4
"""Rows of `DeepToken.scratch`: what a key or a query excites, GELU and its slope there; what pulls
the hidden units."""


class DeepToken(NamedTuple):
    """One token of every row for a deep memory, and scratch; no elements where a rule lacks it.

    Attributes:
        q, k, v, u: (B, 1, H, K).
        step, decay, momentum, delta: (B, 1, H).
        temperature: (H,).
        w_in, w_out: (H, K, E), (H, E, K) what memories start from.
        scratch: (B, H, SCRATCH, P).
    """

    q: Any
    k: Any
    v: Any
    u: Any
    step: Any
    decay: Any
    momentum: Any
    delta: Any
    temperature: Any
    w_in: Any
    w_out: Any
    scratch: Any


TOKEN = len(DeepToken._fields)


class Stack(NamedTuple):
    """Perceptrons one after another: those of checkpoints, or those of online memories.

    Attributes:
        matrices: (n, K, P) codes; a perceptron is w_in and the transpose of w_out.
        scales: of their rows, of integers.
    """

    matrices: Any
    scales: Any


@device
def borrowed_deep_token(inputs: Any) -> Any:
    """The entries of a `DeepToken`, uncounted."""
    q, k, v, u, step, decay, momentum, delta, temperature, w_in, w_out, scratch = inputs
    return DeepToken(
        borrowed(q),
        borrowed(k),
        borrowed(v),
        borrowed(u),
        borrowed(step),
        borrowed(decay),
        borrowed(momentum),
        borrowed(delta),
        borrowed(temperature),
        borrowed(w_in),
        borrowed(w_out),
        borrowed(scratch),
    )


@device
def stacked(states: Any, scales: Any, keys: int) -> Any:
    """States (..., rows, P) as a `Stack`."""
    width = states.shape[states.ndim - 1]
    count = states.size // (keys * width)
    return Stack(states.reshape((count, keys, width)), scales)
