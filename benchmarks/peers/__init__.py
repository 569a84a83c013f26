"""The same layer by other means: `linear` + `grm`, forward and backward, on one thread.

Each module here has `make(problem, inputs, dy)`, which gives a `Contender`. Peers get their arrays
in the layout that they like best, (rows x heads, T, channels), outside the measured time.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from shutil import which
from typing import Any, NamedTuple, Protocol

import numpy as np

from benchmarks.problem import Arrays, Problem
from mcore.arrays import Array


class Contender(Protocol):
    """One way to compute a layer, on inputs that it holds."""

    def forward(self) -> object:
        """y, in the contender's own arrays."""

    def both(self) -> object:
        """y and the gradients of all inputs, given that of y."""

    def plain(self, found: Any) -> Arrays:
        """What `both` has given, as `y` and a gradient per input, (B, T, H, channels)."""


class Peer(NamedTuple):
    """Where a contender is written down, the package that it needs, and the segments up to which
    its compiler is waited for: it unrolls them."""

    module: str
    package: str
    segments: int = 1 << 20


PEERS = {
    "mcore": Peer("mcore_numba", "numba"),
    "torch, stacked": Peer("torch_stacked", "torch"),
    "torch, pairs": Peer("torch_pairs", "torch"),
    "torch.compile": Peer("torch_compiled", "torch", 16),
    "jax.jit": Peer("jax_jit", "jax", 32),
    "numpy": Peer("plain_numpy", "numpy"),
}
"""In the order of the tables."""


def missing(name: str) -> str | None:
    """What to say if a peer cannot run here."""
    package = PEERS[name].package
    if find_spec(package):
        lacks = name == "torch.compile" and not (which("g++") or which("clang++"))
        return f"{name}: skipped, it needs a C++ compiler; g++ would do" if lacks else None
    return f'{name}: skipped, {package} is not installed; pip install -e ".[bench]" brings it'


def make(name: str, problem: Problem, inputs: Arrays, dy: Array) -> Contender:
    """A contender with these inputs and this gradient of y."""
    module = import_module(f"benchmarks.peers.{PEERS[name].module}")
    made: Contender = module.make(problem, inputs, dy)
    return made


def flat(x: Array) -> Array:
    """(B, T, H, channels) to (B H, T, channels)."""
    rows, tokens, heads, width = x.shape
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(rows * heads, tokens, width)


def unflat(x: Array, problem: Problem) -> Array:
    """The way back."""
    shaped = x.reshape(problem.rows, problem.heads, *x.shape[1:])
    return np.ascontiguousarray(shaped.transpose(0, 2, 1, 3))


def unflat_all(y: Array, grads: Mapping[str, Array], problem: Problem) -> Arrays:
    """`unflat` for an answer and its gradients."""
    return {name: unflat(x, problem) for name, x in {"y": y, **grads}.items()}
