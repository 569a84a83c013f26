"""Deep linear attention: a perceptron that each token pulls towards its value.

    M_t = a_t M_{t-1} - step_t grad l(M_a),   l(M) = -<M(k_t), v_t>,   a_t = exp(log_decay_t)
    y_t = M_t(q_t)

M_a is M_{t-1} or, with `chunk` > 1, the memory before the token's chunk (`chunked.py`). Behrouz et
al. 2026, Eq. 30-33. Of a matrix memory this is linear attention.
"""

from dataclasses import dataclass
from typing import ClassVar

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Inputs
from mcore.recurrence.chunked import ChunkedMemory


@dataclass(frozen=True)
class Dla(ChunkedMemory):
    """Pull a perceptron's answer to k towards v, without an error (deep linear attention).

    `step`, `log_decay` (B, T, H); the perceptron starts at `w_in` (H, K, E), `w_out` (H, E, V).
    """

    kind: ClassVar[str] = "dla"

    @property
    def learns_from_error(self) -> bool:
        """No: a value pulls whatever the answer is."""
        return False

    def error(self, answer: Array, x: Inputs) -> Array:
        """`r = -v`."""
        return -x["v"]

    def error_backward(
        self, answer: Array, x: Inputs, d_error: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`dv = -dr`; the answer does not matter."""
        nothing: Array = namespace(answer).zeros_like(answer)
        return nothing, {"v": -d_error}
