"""`delta`, `gated_delta`: a token writes the error of its value."""

from mcore.export import ops
from mcore.export.algebra import column, outer, row, transposed_times
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, MatrixForm


class DeltaForm(MatrixForm):
    """Without decay."""

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """`S + beta k (v - S^T k)^T`."""
        error = x["v"] - transposed_times(state, x["k"])
        return state + outer(row(x["beta"]) * x["k"], error)


class GatedDeltaForm(DeltaForm):
    """The memory decays first."""

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """The same from `a S`."""
        return super().step(column(ops.exp(x["log_decay"])) * state, x)
