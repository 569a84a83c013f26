"""`swla`: a decayed memory into which a token and the one before it are written."""

from mcore.export import ops
from mcore.export.algebra import column, outer, row
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, MatrixForm


class SwlaForm(MatrixForm):
    """The state (K + 1, V + 1) holds S, the last k as last column and the last v as last row."""

    axes = "K+1 V+1"
    holds = "S, with the last k as last column and the last v as last row"

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """Decay, write the last token again, write this one and keep it."""
        keys, values = self.dims.K, self.dims.V
        above, below = ops.part(state, -2, 0, keys), ops.part(state, -2, keys, keys + 1)
        k = ops.squeeze(ops.part(above, -1, values, values + 1), -1)
        v = ops.squeeze(ops.part(below, -1, 0, values), -2)
        again, now = row(x["beta_prev"]) * k, row(x["beta"]) * x["k"]
        matrix = column(ops.exp(x["log_decay"])) * ops.part(above, -1, 0, values)
        matrix = matrix + outer(again, v) + outer(now, x["v"])
        corner = ops.part(below, -1, values, values + 1)
        above = ops.concatenate([matrix, ops.expand(x["k"], -1)], -1)
        below = ops.concatenate([ops.expand(x["v"], -2), corner], -1)
        return ops.concatenate([above, below], -2)

    def read(self, state: Tensor, q: Tensor | None) -> Tensor:
        """`S^T q`."""
        matrix = ops.part(ops.part(state, -2, 0, self.dims.K), -1, 0, self.dims.V)
        return super().read(matrix, q)
