"""Yaad: a perceptron that descends on Huber's loss, so that outliers pull no harder than delta.

    M_t = a_t M_{t-1} - step_t grad l(M_a),   a_t = exp(log_decay_t)
    l(M) = r^2 / 2 if r <= delta_t, else delta_t (r - delta_t / 2),   r = |M(k_t) - v_t|
    y_t = M_t(q_t)

M_a is M_{t-1} or, with `chunk` > 1, the memory before the token's chunk (`chunked.py`); r is the
norm of the whole error. Miras (Behrouz et al. 2025, arXiv:2504.13173).
"""

from dataclasses import dataclass
from typing import ClassVar

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Inputs
from mcore.recurrence.chunked import ChunkedMemory
from mcore.recurrence.laws import Gate, Law


@dataclass(frozen=True)
class Yaad(ChunkedMemory):
    """Descend on a perceptron's Huber loss: large errors pull with bounded force (Yaad).

    `step`, `log_decay`, `delta` (B, T, H); the perceptron starts at `w_in` (H, K, E), `w_out`
    (H, E, V).
    """

    kind: ClassVar[str] = "yaad"

    @property
    def inputs(self) -> dict[str, str]:
        """As for every perceptron, and the error up to which a token's loss is square."""
        return {**super().inputs, "delta": "B T H"}

    @property
    def features(self) -> dict[str, Law]:
        """As for every perceptron, with sigmoid delta."""
        return {**super().features, "delta": Gate("sigmoid", largest=LARGEST_DELTA)}

    def error(self, answer: Array, x: Inputs) -> Array:
        """`e = M(k) - v`, scaled down to length delta if it is longer."""
        error = answer - x["v"]
        norm, outside = _beyond(error, x)
        scaled: Array = namespace(error).where(outside, x["delta"][..., None] / norm, 1) * error
        return scaled

    def error_backward(
        self, answer: Array, x: Inputs, d_error: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Beyond delta, n = e / |e|: `de = delta / |e| (dr - n <n, dr>)`, `ddelta = <n, dr>`."""
        xp = namespace(answer)
        error = answer - x["v"]
        norm, outside = _beyond(error, x)
        unit = error / norm
        along = (unit * d_error).sum(axis=-1, keepdims=True)
        turned = x["delta"][..., None] / norm * (d_error - unit * along)
        d_answer = xp.where(outside, turned, d_error)
        return d_answer, {"v": -d_answer, "delta": xp.where(outside, along, 0)[..., 0]}


LARGEST_DELTA = 2.0
"""Of a layer. Errors are as long as x, 1, and values, about 1.4, at the start: with a delta near 1
most tokens pull a little less than with the square, and none is ignored."""


def _beyond(error: Array, x: Inputs) -> tuple[Array, Array]:
    """The error's length (1 where it does not matter), and whether it exceeds delta: (..., 1)."""
    xp = namespace(error)
    norm = xp.sqrt((error * error).sum(axis=-1, keepdims=True))
    outside = norm > x["delta"][..., None]
    return xp.where(outside, norm, 1), outside
