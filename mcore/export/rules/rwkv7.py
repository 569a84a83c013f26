"""`rwkv7`: channels decay, and what a removal key recalls is taken out."""

from mcore.export import ops
from mcore.export.algebra import outer, row, transposed_times
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, MatrixForm


class Rwkv7Form(MatrixForm):
    """`diag(a) S - (kk * a) (S^T kk)^T + k v^T`."""

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """Decay, remove, write; what is removed is read from the memory before its decay."""
        recalled = transposed_times(state, x["kk"])
        decayed = row(ops.exp(x["log_decay"])) * state
        return decayed - outer(x["kk"] * x["a"], recalled) + outer(x["k"], x["v"])
