"""`linear`: S + phi(k) v^T."""

from mcore.export import ops
from mcore.export.algebra import outer
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, MatrixForm, written
from mcore.recurrence import Dims
from mcore.recurrence.linear import EPS, Linear


class LinearForm(MatrixForm):
    """With the feature map and the normaliser that the rule asks for."""

    rule: Linear

    def __init__(self, rule: Linear, dims: Dims) -> None:
        super().__init__(rule, dims)
        if rule.normalize:
            self.axes, self.holds = "K V+1", f"{self.holds}, with the sum of keys as last column"

    def prepare(self, x: Inputs) -> dict[str, Tensor]:
        """`elu(x) + 1` of q and k, if mapped."""
        if self.rule.feature_map == "identity":
            return dict(x)
        return {**x, "q": _elu1(x["q"]), "k": _elu1(x["k"])}

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """`S + k v^T`, the value extended by a 1 if normalised."""
        write = written if self.rule.normalize else outer
        return state + write(x["k"], x["v"])

    def read(self, state: Tensor, q: Tensor | None) -> Tensor:
        """`S^T q`, divided by `z . q + eps` if normalised."""
        answer, width = super().read(state, q), self.dims.V
        if not self.rule.normalize:
            return answer
        scale = ops.part(answer, -1, width, width + 1) + EPS
        return ops.part(answer, -1, 0, width) / scale


def _elu1(x: Tensor) -> Tensor:
    return ops.maximum(x, 0.0) + ops.exp(ops.minimum(x, 0.0))
