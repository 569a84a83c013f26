"""A memory layer and its sizes: what is measured, and what a measurement is named by."""

from typing import Any, NamedTuple

import numpy as np

import mcore
from mcore.arrays import Array
from mcore.backend import get_backend
from mcore.model.cost import MemoryCost

Arrays = dict[str, Array]


class Problem(NamedTuple):
    """Rows x heads of `width` key and value channels, `tokens` in segments of `segment`."""

    rule: str = "linear"
    readout: str = "grm"
    rows: int = 4
    heads: int = 4
    width: int = 64
    segment: int = 64
    tokens: int = 1024
    top_k: int = 4

    @property
    def name(self) -> str:
        """What its row in a table is called."""
        read = f"ssc, {self.top_k}" if self.readout == "ssc" else self.readout
        return f"{self.rule} {read} d={self.width} L={self.segment} N={self.segments}"

    @property
    def simplest(self) -> bool:
        """Whether it is the layer that the peers compute."""
        return (self.rule, self.readout) == ("linear", "grm")

    @property
    def segments(self) -> int:
        """N."""
        return -(-self.tokens // self.segment)

    @property
    def flops(self) -> float:
        """Useful FLOPs of one forward: those that do not depend on how the work is done."""
        each = MemoryCost(self.memory("reference"), self.width, self.width).flops(self.tokens)
        return each * self.rows * self.heads * self.tokens

    def memory(self, backend: str, threads: int = 1, dtype: str = "float32") -> mcore.Memory:
        """The layer on a backend."""
        readout: Any = self.readout
        if readout == "ssc":
            readout = {"kind": "ssc", "top_k": self.top_k}
        cut = {"kind": "constant", "length": self.segment}
        chosen = get_backend(backend, threads)
        return mcore.memory(self.rule, cut, readout, backend=chosen, dtype=dtype)

    def inputs(self) -> Arrays:
        """Random float32 inputs: keys of about unit size, mild decays, fractions where due."""
        rng = np.random.default_rng(0)
        memory = self.memory("reference")
        sizes = {"B": self.rows, "T": self.tokens, "H": self.heads}
        sizes |= memory.rule.sizes(self.width, self.width)
        found = {}
        for name, axes in memory.inputs.items():
            normal = rng.standard_normal(tuple(sizes[axis] for axis in axes.split()))
            found[name] = _fit(name, normal).astype(np.float32)
        return found

    def answers(self) -> Array:
        """A random gradient of y (B, T, H, V)."""
        shape = (self.rows, self.tokens, self.heads, self.width)
        return np.random.default_rng(1).standard_normal(shape).astype(np.float32)

    def small(self) -> "Problem":
        """The same layer with few rows and segments, for a slow reference."""
        return self._replace(rows=1, heads=2, tokens=min(self.tokens, 5 * self.segment))


def _fit(name: str, normal: Array) -> Array:
    """Standard normal numbers made into what an input is like."""
    made = normal
    if name in ("q", "k"):
        made = normal * normal.shape[-1] ** -0.5
    elif name == "kk":
        made = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    elif name == "log_decay":
        made = -0.1 * normal**2
    elif name in ("beta", "a"):
        made = 1 / (1 + np.exp(-normal))
    elif name in ("step", "momentum"):
        made = 0.1 / (1 + np.exp(-normal))
    elif name in ("w_in", "w_out"):
        made = normal * normal.shape[-2] ** -0.5
    return made
