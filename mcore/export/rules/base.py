"""What a recurrence is in a graph: one token's update of the memory, and how a memory is read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from mcore.export import ops
from mcore.export.algebra import column, outer, transposed_times
from mcore.export.builder import Tensor
from mcore.recurrence import Dims, Recurrence

Inputs = Mapping[str, Tensor]


class RuleForm(ABC):
    """The equations of a rule, written with tensors: `mcore.recurrence` states them with arrays.

    States are (B, H, *state_shape), a token's inputs (B, H, ...), parameters as they are declared;
    `x["position"]` (B,) int64 counts the tokens before in the token's segment.
    """

    axes: str
    """Of one head's state, as in `"K V"`."""

    holds: str
    """What a state is, in words."""

    def __init__(self, rule: Recurrence, dims: Dims) -> None:
        self.rule, self.dims = rule, dims

    def prepare(self, x: Inputs) -> dict[str, Tensor]:
        """Pointwise maps that come before the recurrence and the routing; here none."""
        return dict(x)

    def initial(self, x: Inputs) -> Tensor | None:
        """(H, *state_shape) the state at which a memory starts; None for zeros."""
        return None

    @abstractmethod
    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """The state after one token."""

    @abstractmethod
    def read(self, state: Tensor, q: Tensor | None) -> Tensor:
        """The answer (..., V) of states (..., *state_shape) to queries (..., K)."""

    def mix(self, memories: Tensor, gates: Tensor, seen: Tensor) -> Tensor:
        """What several memories (B, M, H, *state_shape) are together; here `sum_i gates_i M_i`.

        `gates` (B, M, H) are 0 where a memory is not `seen` (B, M).
        """
        return ops.total(column(gates) * memories, 1)


class MatrixForm(RuleForm):
    """A (K, V) state read as `y = S^T q`."""

    axes = "K V"
    holds = "S, read as S^T q"

    def read(self, state: Tensor, q: Tensor | None) -> Tensor:
        """`S^T q`."""
        assert q is not None
        return transposed_times(state, q)


def written(k: Tensor, v: Tensor) -> Tensor:
    """`k [v 1]^T`: the value extended by a 1, (..., K, V + 1)."""
    return ops.concatenate([outer(k, v), ops.expand(k, -1)], -1)
