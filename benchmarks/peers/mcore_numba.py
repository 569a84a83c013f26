"""mcore's own kernels."""

from dataclasses import dataclass
from typing import Any

from benchmarks.problem import Arrays, Problem
from mcore import Memory
from mcore.arrays import Array


@dataclass
class Mcore:
    """A memory on the Numba backend."""

    memory: Memory
    inputs: Arrays
    dy: Array

    def forward(self) -> Any:
        """y and what backward needs."""
        return self.memory.forward(self.inputs)

    def both(self) -> Any:
        """y and the gradients."""
        y, saved = self.memory.forward(self.inputs)
        return y, self.memory.backward(saved, self.dy)

    def plain(self, found: Any) -> Arrays:
        """As it is."""
        y, grads = found
        return {"y": y, **grads}


def make(problem: Problem, inputs: Arrays, dy: Array) -> Mcore:
    """On one thread."""
    return Mcore(problem.memory("numba"), inputs, dy)
