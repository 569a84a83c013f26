"""`dla`, `titans`, `yaad`: descent on each token's loss, at the memory before it or its chunk."""

from mcore.export import ops
from mcore.export.algebra import column, row
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs
from mcore.export.rules.perceptron import PerceptronForm
from mcore.recurrence import Dims
from mcore.recurrence.chunked import ChunkedMemory


class ChunkedForm(PerceptronForm):
    """With chunks a state also holds the perceptron as it was at the chunk's start."""

    rule: ChunkedMemory

    def __init__(self, rule: ChunkedMemory, dims: Dims) -> None:
        super().__init__(rule, dims)
        if rule.chunk > 1:
            self.holds += ", over both as they were at the chunk's start"

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """The update, with the gradient at the anchor."""
        rows = 2 * self.dims.K
        if self.rule.chunk == 1:
            return self.update(state, self.gradient(ops.part(state, -2, 0, rows), x), x)
        moving = rows * self.rule.moving
        before, kept = ops.part(state, -2, 0, moving), ops.part(state, -2, moving, moving + rows)
        begins = ops.equal(x["position"] % self.rule.chunk, 0)
        anchor = ops.where(ops.expand(begins, 1, 2, 3), ops.part(before, -2, 0, rows), kept)
        return ops.concatenate([self.update(before, self.gradient(anchor, x), x), anchor], -2)

    def update(self, before: Tensor, gradient: Tensor, x: Inputs) -> Tensor:
        """`a M - step G`."""
        return self.descended(before, gradient, x)


class DlaForm(ChunkedForm):
    """Deep linear attention."""

    def error(self, answer: Tensor, x: Inputs) -> Tensor:
        """`-v`."""
        return -x["v"]


class TitansForm(ChunkedForm):
    """With a momentum of the perceptron's size."""

    holds = "w_in over w_out transposed, over the momentum of both"

    def error(self, answer: Tensor, x: Inputs) -> Tensor:
        """`M(k) - v`."""
        return answer - x["v"]

    def update(self, before: Tensor, gradient: Tensor, x: Inputs) -> Tensor:
        """`P <- m P - step G`, `M <- a M + P`."""
        rows = 2 * self.dims.K
        weights, momentum = ops.part(before, -2, 0, rows), ops.part(before, -2, rows, 2 * rows)
        momentum = column(x["momentum"]) * momentum - column(x["step"]) * gradient
        weights = column(ops.exp(x["log_decay"])) * weights + momentum
        return ops.concatenate([weights, momentum], -2)


class YaadForm(ChunkedForm):
    """Huber's loss."""

    def error(self, answer: Tensor, x: Inputs) -> Tensor:
        """`e = M(k) - v`, scaled down to length delta if it is longer."""
        error, delta = answer - x["v"], row(x["delta"])
        norm = ops.sqrt(ops.total_kept(error * error, -1))
        outside = ops.greater(norm, delta)
        safe = ops.where(outside, norm, 1.0)
        return ops.where(outside, delta / safe, 1.0) * error
