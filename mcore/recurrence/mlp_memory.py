"""A perceptron that learns: each token descends on an inner loss of its key and value.

    G = grad l(M),   l a function of M(k), v and perhaps more;   r = dl / dM(k)

A rule says what r is; the gradient of the loss with respect to both matrices, and the gradient of
that, are the same for all.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from mcore.arrays import Array
from mcore.recurrence.base import Inputs
from mcore.recurrence.gelu import Gelu, gelu
from mcore.recurrence.matrix import outer, times, transposed_times
from mcore.recurrence.perceptron import Perceptron
from mcore.recurrence.stack import matrices, stacked


class Descent(NamedTuple):
    """What the inner gradient keeps: both matrices (K, E), and its intermediate vectors."""

    w_in: Array
    w_out: Array
    k: Array
    hidden: Gelu
    answer: Array
    error: Array
    pulled: Array


@dataclass(frozen=True)
class MlpMemory(Perceptron):
    """A two-layer perceptron per head, trained by each token on its key and value."""

    @property
    def learns_from_error(self) -> bool:
        """Yes: each token descends on an inner loss."""
        return True

    @abstractmethod
    def error(self, answer: Array, x: Inputs) -> Array:
        """r, the gradient of the token's inner loss with respect to M(k)."""

    @abstractmethod
    def error_backward(
        self, answer: Array, x: Inputs, d_error: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Gradient of `error`: with respect to the answer, and to entries of `x`."""

    def descent(self, weights: Array, x: Inputs) -> tuple[Array, Descent]:
        """The gradient of the token's inner loss at `weights` (..., 2K, E), of the same shape.

        With a = k @ w_in, z = gelu(a), o = k + z @ w_out and r = dloss/do:
        `G_out = z r^T`, `G_in = k d^T` where `d = gelu'(a) (w_out r)`.
        """
        k = x["k"]
        w_in, w_out = matrices(weights, k.shape[-1])
        hidden = gelu(transposed_times(w_in, k))
        answer = k + times(w_out, hidden.value)
        error = self.error(answer, x)
        pulled = transposed_times(w_out, error)
        gradient = stacked(outer(k, pulled * hidden.slope), outer(error, hidden.value))
        return gradient, Descent(w_in, w_out, k, hidden, answer, error, pulled)

    def descent_backward(
        self, kept: Descent, x: Inputs, d_gradient: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Gradient of `descent`, with its second-order terms: the weights', and entries of `x`."""
        k, hidden, error, pulled = kept.k, kept.hidden, kept.error, kept.pulled
        d_in, d_out = matrices(d_gradient, k.shape[-1])
        d_step = transposed_times(d_in, k)
        d_pulled = d_step * hidden.slope
        d_error = times(d_out, hidden.value) + times(kept.w_out, d_pulled)
        d_answer, d_x = self.error_backward(kept.answer, x, d_error)
        d_value = transposed_times(d_out, error) + transposed_times(kept.w_out, d_answer)
        d_hidden = d_step * pulled * hidden.curvature + d_value * hidden.slope
        dk = times(d_in, pulled * hidden.slope) + d_answer + times(kept.w_in, d_hidden)
        d_w_out = outer(error, d_pulled) + outer(d_answer, hidden.value)
        return stacked(outer(k, d_hidden), d_w_out), {**d_x, "k": dk}
