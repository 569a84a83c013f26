"""The Titans layers that `benchmarks.deep` times: their sizes, inputs and useful FLOPs."""

from typing import NamedTuple

import numpy as np

import mcore
from mcore.arrays import Array
from mcore.backend import get_backend


class Problem(NamedTuple):
    """A layer and its sizes."""

    chunk: int
    segment: int
    tokens: int
    rows: int
    heads: int
    width: int
    hidden: int

    @property
    def flops(self) -> float:
        """Useful FLOPs of forward and backward."""
        d, m, n = self.width, self.hidden, (self.tokens / self.segment - 1) / 2
        scan = 22 * d * m + 2 * (self.chunk + 1) * (d + m)
        return 3 * (scan + 4 * d * m * n + 2 * d * (n + 1)) * self.rows * self.heads * self.tokens

    def memory(self) -> mcore.Memory:
        """The layer on one thread, in float32."""
        rule = {"kind": "titans", "chunk": self.chunk}
        cut = {"kind": "constant", "length": self.segment}
        return mcore.memory(rule, cut, "grm", backend=get_backend("numba", 1))

    def inputs(self) -> dict[str, Array]:
        """Random inputs: unit queries and keys, steps that converge."""
        rng = np.random.default_rng(0)
        lead, heads, d, m = (
            (self.rows, self.tokens, self.heads),
            self.heads,
            self.width,
            self.hidden,
        )
        vectors = {name: rng.standard_normal((*lead, d)) for name in ("q", "k", "v", "u")}
        for name in ("q", "k"):
            vectors[name] /= np.linalg.norm(vectors[name], axis=-1, keepdims=True)
        numbers = {name: rng.random(lead) for name in ("step", "log_decay", "momentum")}
        numbers["step"] *= 2 / m
        numbers["log_decay"] *= -0.1
        weights = {
            "w_in": rng.standard_normal((heads, d, m)),
            "w_out": rng.standard_normal((heads, m, d)) * (d * m) ** -0.5,
        }
        every = {**vectors, **numbers, **weights}
        return {name: x.astype(np.float32) for name, x in every.items()}
