"""`mlstm`: exponential gates, kept in range by a running maximum; reads are divided."""

from mcore.export import ops
from mcore.export.algebra import column, numbers, row, softplus
from mcore.export.builder import Tensor
from mcore.export.rules.base import Inputs, MatrixForm, written
from mcore.recurrence.mlstm import EPS, LARGEST

_UNSEEN = -1e30
"""The maximum of a memory that is not visible: exp of it, less any other, is 0."""


class MlstmForm(MatrixForm):
    """The state (K + 1, V + 1) holds C, n as its last column, and m in its last row."""

    axes = "K+1 V+1"
    holds = "C, with n as last column and m in the last row"

    def prepare(self, x: Inputs) -> dict[str, Tensor]:
        """`fgate <- log(sigmoid(fgate))`."""
        return {**x, "fgate": -softplus(-x["fgate"])}

    def step(self, state: Tensor, x: Inputs) -> Tensor:
        """Both gates relative to the new maximum."""
        body, m = self._parts(state)
        kept = x["fgate"] + ops.squeeze(m, -1)
        largest = ops.maximum(kept, x["igate"])
        forget, write = ops.exp(kept - largest), ops.exp(x["igate"] - largest)
        key = row(write) * x["k"] * self.dims.K**-0.5
        return self._joined(column(forget) * body + written(key, x["v"]), largest)

    def read(self, state: Tensor, q: Tensor | None) -> Tensor:
        """`C^T q / (max(|n . q|, exp(-m)) + eps)`."""
        body, m = self._parts(state)
        answer, width = super().read(body, q), self.dims.V
        least = ops.exp(ops.minimum(-m, LARGEST))
        below = ops.absolute(ops.part(answer, -1, width, width + 1))
        return ops.part(answer, -1, 0, width) / (ops.maximum(below, least) + EPS)

    def mix(self, memories: Tensor, gates: Tensor, seen: Tensor) -> Tensor:
        """C, n weighed by `g_i exp(m_i - m*)` with m* the largest maximum that is visible."""
        bodies, maxima = self._parts(memories)
        visible = ops.where(row(seen), ops.squeeze(maxima, -1), _UNSEEN)
        largest = ops.largest_kept(visible, 1)
        weights = gates * ops.exp(visible - largest)
        return self._joined(ops.total(column(weights) * bodies, 1), ops.squeeze(largest, 1))

    def _parts(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """C with n (..., K, V + 1), and m (..., 1)."""
        keys = self.dims.K
        last = ops.squeeze(ops.part(state, -2, keys, keys + 1), -2)
        return ops.part(state, -2, 0, keys), ops.part(last, -1, 0, 1)

    def _joined(self, body: Tensor, m: Tensor) -> Tensor:
        """The inverse of `_parts`; m (...)."""
        first = numbers(m, [1.0] + [0.0] * self.dims.V)
        return ops.concatenate([body, column(m) * first], -2)
