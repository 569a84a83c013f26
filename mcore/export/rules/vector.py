"""`lstm`, `gru`: vectors, read without a query."""

from mcore.export import ops
from mcore.export.algebra import transposed_times
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, RuleForm
from mcore.recurrence import Dims
from mcore.recurrence.vector import VectorMemory


class VectorForm(RuleForm):
    """A state is (vectors, V), the first of them h, which is what a read returns."""

    rule: VectorMemory

    def __init__(self, rule: VectorMemory, dims: Dims) -> None:
        super().__init__(rule, dims)
        self.axes = f"{rule.vectors} V"

    def read(self, state: Tensor, q: Tensor | None) -> Tensor:
        """`h`."""
        return self.vector(state, 0)

    def vector(self, state: Tensor, index: int) -> Tensor:
        """One vector (..., V) of a state."""
        return ops.squeeze(ops.part(state, -2, index, index + 1), -2)

    def split(self, gates: Tensor) -> list[Tensor]:
        """(..., G V) to G tensors (..., V)."""
        width = self.dims.V
        return [ops.part(gates, -1, i * width, (i + 1) * width) for i in range(self.rule.gates)]

    def recurred(self, state: Tensor, x: Inputs) -> Tensor:
        """`h U` per head."""
        return transposed_times(x["recurrent"], self.vector(state, 0))


class LstmForm(VectorForm):
    """State h, c."""

    holds = "h, c"

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """Gates, cell, output."""
        i, f, g, o = self.split(x["x"] + self.recurred(state, x))
        c = ops.logistic(f) * self.vector(state, 1) + ops.logistic(i) * ops.tanh(g)
        h = ops.logistic(o) * ops.tanh(c)
        return ops.concatenate([ops.expand(h, -2), ops.expand(c, -2)], -2)


class GruForm(VectorForm):
    """State h."""

    holds = "h"

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """Gates, candidate, mixture."""
        ours, theirs = self.split(x["x"]), self.split(self.recurred(state, x))
        r, z = ops.logistic(ours[0] + theirs[0]), ops.logistic(ours[1] + theirs[1])
        n = ops.tanh(ours[2] + r * (theirs[2] + x["recurrent_bias"]))
        return ops.expand((1.0 - z) * n + z * self.vector(state, 0), -2)
