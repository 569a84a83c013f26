"""`Mlp` and `Residual`: what works on each token, and the norm before every part."""

from mcore.export import ops
from mcore.export.algebra import rms_norm, silu
from mcore.export.builder import Tensor
from mcore.export.declared import Declared
from mcore.export.parts.base import PartForm, State
from mcore.model.block import Mlp


class MlpForm(PartForm):
    """`(silu(x W_gate) * (x W_up)) W_down`."""

    part: Mlp

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        """y (B, D); nothing is carried."""
        gate, up, down = (self.around.weight(x.builder, name) for name in self.part.shapes())
        return ops.matmul(silu(ops.matmul(x, gate)) * ops.matmul(x, up), down), {}


class ResidualForm:
    """`x + part(rms_norm(x))`."""

    def __init__(self, inner: PartForm, width: int) -> None:
        self.inner, self.width, self.name = inner, width, inner.around.name

    def states(self) -> list[Declared]:
        """The part's, under its name."""
        return [declared.below(self.name) for declared in self.inner.states()]

    def step(self, x: Tensor, state: State, position: Tensor) -> tuple[Tensor, State]:
        """y (B, D); states by their full names."""
        start = self.name + "."
        own = {n.removeprefix(start): s for n, s in state.items() if n.startswith(start)}
        with x.builder.scope(self.name):
            weight = self.inner.around.weight(x.builder, "pre.weight")
            y, after = self.inner.step(rms_norm(x, weight, self.width), own, position)
            return x + y, {start + name: s for name, s in after.items()}
