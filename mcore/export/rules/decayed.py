"""`retention`, `gated_linear`, `mamba2`, `gla`: a decayed memory and k v^T."""

from mcore.export import ops
from mcore.export.algebra import column, outer, row
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, MatrixForm


class DecayedForm(MatrixForm):
    """One decay per head."""

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """`a S + k v^T`."""
        return column(ops.exp(x["log_decay"])) * state + outer(x["k"], x["v"])


class GlaForm(MatrixForm):
    """One decay per key channel."""

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """`diag(a) S + k v^T`."""
        return row(ops.exp(x["log_decay"])) * state + outer(x["k"], x["v"])
