"""`moneta`, `memora`: perceptrons whose weights W are the image of what descends, A."""

from abc import abstractmethod

from mcore.export import ops
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs
from mcore.export.rules.perceptron import PerceptronForm


class MirrorForm(PerceptronForm):
    """The state is W over A."""

    holds = "W over A, each w_in over w_out transposed"

    @abstractmethod
    def image(self, source: Tensor, axis: int) -> Tensor:
        """f of a matrix (..., K, E), whose inputs lie along `axis`."""

    def initial(self, x: Inputs) -> Tensor | None:
        """W = f(A) over A = w_in, w_out."""
        return self._imaged(self.source(x))

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """`A <- a A - step G`, with G at W; then W is made anew."""
        rows = 2 * self.dims.K
        weights, source = ops.part(state, -2, 0, rows), ops.part(state, -2, rows, 2 * rows)
        return self._imaged(self.descended(source, self.gradient(weights, x), x))

    def error(self, answer: Tensor, x: Inputs) -> Tensor:
        """`M(k) - v`."""
        return answer - x["v"]

    def _imaged(self, source: Tensor) -> Tensor:
        first, second = self.matrices(source)
        return ops.concatenate([self.image(first, -2), self.image(second, -1), source], -2)


class MonetaForm(MirrorForm):
    """Cubed errors, and weights held by their 4-norm."""

    def error(self, answer: Tensor, x: Inputs) -> Tensor:
        """`3 e |e|`."""
        error = super().error(answer, x)
        return 3.0 * error * ops.absolute(error)

    def image(self, source: Tensor, axis: int) -> Tensor:
        """`A^3 / sqrt(sum A^4)`, with A over its largest entry so that no power underflows."""
        largest = ops.largest_kept(ops.absolute(source), -2, -1)
        there = ops.greater(largest, 0.0)
        unit = source / ops.where(there, largest, 1.0)
        square = unit * unit
        fourth = ops.total_kept(square * square, -2, -1)
        return source * square / ops.sqrt(ops.where(there, fourth, 1.0))


class MemoraForm(MirrorForm):
    """Weights that are probabilities."""

    def image(self, source: Tensor, axis: int) -> Tensor:
        """`softmax(A)` along the inputs."""
        return ops.softmax(source, axis)
