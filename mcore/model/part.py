"""What the parts of a network have in common.

A part holds sizes, never arrays: parameters and states are flat dicts with dotted names that are
passed in. So a snapshot is a dict of arrays, and a part's forward is a pure function.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from mcore.arrays import Array

Params = dict[str, Array]
"""Dotted name -> array."""

State = dict[str, Array]
"""What a part carries along a stream: dotted name -> array (B, ...)."""

Shapes = dict[str, tuple[int, ...]]

DOCUMENT = "document"
"""Beside what is carried: ids (B, T) of the documents packed in rows that start here."""


class Part(Protocol):
    """A piece of the network: tokens (B, T, D) in, tokens (B, T, D) out."""

    @property
    def names_rows(self) -> bool:
        """Whether it tells the rows of a batch apart."""

    def shapes(self) -> Shapes:
        """Shapes of the parameters."""

    def init(self, rng: np.random.Generator, dtype: str) -> Params:
        """Starting values of the parameters."""

    def forward(self, params: Params, x: Array, state: State) -> tuple[Array, Any]:
        """y (B, T, D); an empty `state` means the start of the sequences."""

    def backward(self, saved: Any, dy: Array) -> tuple[Array, Params]:
        """Gradients with respect to x and to each parameter."""

    def end(self, saved: Any) -> State:
        """The state after the last token of a forward."""

    def flops(self, tokens: int) -> float:
        """Useful floating-point operations of a forward, per token of a sequence of `tokens`."""

    def state_bytes(self, tokens: int, itemsize: int) -> int:
        """Size of the state of one sequence after `tokens` tokens."""


LIVE = "live"
"""Beside what is carried: whether memories may be streams, which change in place."""

STREAM = "stream"
"""What a memory that is a stream carries, in place of the arrays of its state."""


def scoped(arrays: Mapping[str, Array], scope: str) -> dict[str, Array]:
    """The entries below `scope.`, with that prefix taken off."""
    start = scope + "."
    return {name[len(start) :]: x for name, x in arrays.items() if name.startswith(start)}


def below(state: Mapping[str, Array], scope: str) -> State:
    """The state of the part `scope`, which sees the same documents and is as live."""
    shared = {name: state[name] for name in (DOCUMENT, LIVE) if name in state}
    return {**scoped(state, scope), **shared}


def prefixed(scope: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The same entries with `scope.` put before each name."""
    return {f"{scope}.{name}": x for name, x in arrays.items()}


def merged(groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One dict of several that share no name."""
    return {name: x for group in groups for name, x in group.items()}
