"""`slstm`: an LSTM with exponential gates and a normaliser."""

from mcore.export import ops
from mcore.export.algebra import softplus
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs
from mcore.export.rules.vector import VectorForm


class SlstmForm(VectorForm):
    """State h, c, n, m. n = 0 tells that a token is the first of its memory: then m is i."""

    holds = "h, c, n, m"

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """Gates, cell and normaliser, output."""
        _, c, n, m = (self.vector(state, e) for e in range(4))
        i, f, z, o = self.split(x["x"] + self.recurred(state, x))
        kept = ops.where(ops.equal(n, 0.0), i, m - softplus(-f))
        top = ops.maximum(i, kept)
        write, keep = ops.exp(i - top), ops.exp(kept - top)
        c, n = keep * c + write * ops.tanh(z), keep * n + write
        h = ops.logistic(o) * c / n
        return ops.concatenate([ops.expand(vector, -2) for vector in (h, c, n, top)], -2)
