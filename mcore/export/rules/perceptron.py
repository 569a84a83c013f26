"""A perceptron as a memory: its read, its start, and the gradient that a token descends on."""

from abc import abstractmethod

from mcore.export import ops
from mcore.export.algebra import column, gelu, outer, times, transposed_times
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, RuleForm
from mcore.recurrence import Dims, Recurrence


class PerceptronForm(RuleForm):
    """A state is a stack of (K, E) matrices: w_in, w_out transposed, and what a rule carries."""

    holds = "w_in over w_out transposed"

    def __init__(self, rule: Recurrence, dims: Dims) -> None:
        super().__init__(rule, dims)
        self.axes = f"{rule.state_shape(dims)[0] // dims.K}K E"

    def read(self, state: Tensor, q: Tensor | None) -> Tensor:
        """`q + gelu(q w_in) w_out`."""
        assert q is not None
        w_in, w_out = self.matrices(state)
        return q + times(w_out, gelu(transposed_times(w_in, q)).value)

    def initial(self, x: Inputs) -> Tensor | None:
        """w_in and w_out; all else zero."""
        copies = self.rule.state_shape(self.dims)[0] // (2 * self.dims.K)
        weights = self.source(x)
        return ops.concatenate([weights] + [weights * 0.0] * (copies - 1), -2)

    def source(self, x: Inputs) -> Tensor:
        """(H, 2 K, E) from w_in (H, K, E) and w_out (H, E, V)."""
        return ops.concatenate([x["w_in"], ops.transpose(x["w_out"], (0, 2, 1))], -2)

    def matrices(self, stack: Tensor) -> tuple[Tensor, Tensor]:
        """The first two matrices of a stack."""
        keys = self.dims.K
        return ops.part(stack, -2, 0, keys), ops.part(stack, -2, keys, 2 * keys)

    @abstractmethod
    def error(self, answer: Tensor, x: Inputs) -> Tensor:
        """r, the gradient of the token's inner loss with respect to M(k)."""

    def gradient(self, weights: Tensor, x: Inputs) -> Tensor:
        """Of the inner loss at `weights` (..., 2 K, E): `MlpMemory.descent`."""
        k, (w_in, w_out) = x["k"], self.matrices(weights)
        hidden = gelu(transposed_times(w_in, k))
        error = self.error(k + times(w_out, hidden.value), x)
        pulled = transposed_times(w_out, error)
        parts = [outer(k, pulled * hidden.slope), outer(error, hidden.value)]
        return ops.concatenate(parts, -2)

    def descended(self, before: Tensor, gradient: Tensor, x: Inputs) -> Tensor:
        """`a M - step G`."""
        decayed = column(ops.exp(x["log_decay"])) * before
        return decayed - column(x["step"]) * gradient
