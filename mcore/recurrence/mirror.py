"""Perceptrons whose weights are the image of what descends: mirror descent (Miras).

    A_t = a_t A_{t-1} - step_t grad l(W_{t-1}),   W_t = f(A_t),   a_t = exp(log_decay_t)
    y_t = W_t(q_t)

A starts at w_in, w_out. A head's state is W, which is what reads and soups look at, over A.
"""

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Dims, Inputs
from mcore.recurrence.mlp_memory import MlpMemory
from mcore.recurrence.stack import column, matrices, stacked


@dataclass(frozen=True)
class MirrorMemory(MlpMemory):
    """A perceptron W = f(A), where f takes one matrix at a time and A descends."""

    @abstractmethod
    def image(self, source: Array, axis: int) -> Array:
        """f of a matrix (..., K, E), whose inputs lie along `axis`."""

    @abstractmethod
    def image_backward(self, source: Array, axis: int, d_image: Array) -> Array:
        """Gradient of `image`."""

    @property
    def copies(self) -> int:
        """W and A."""
        return 2

    def error(self, answer: Array, x: Inputs) -> Array:
        """`r = M(k) - v`."""
        difference: Array = answer - x["v"]
        return difference

    def error_backward(
        self, answer: Array, x: Inputs, d_error: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`do = dr`, `dv = -dr`."""
        return d_error, {"v": -d_error}

    def initial(self, inputs: Inputs, dims: Dims) -> Array:
        """W = f(A) over A = w_in, w_out."""
        initial: Array = self._imaged(_source(inputs)).reshape(dims.H, -1)
        return initial

    def initial_backward(self, inputs: Inputs, d_initial: Array) -> dict[str, Array]:
        """Back through f, summed over the rows of the batch."""
        d_source = self._imaged_backward(_source(inputs), d_initial.sum(axis=0))
        d_in, d_out = matrices(d_source, d_source.shape[-2] // 2)
        return {"w_in": d_in, "w_out": d_out.swapaxes(1, 2)}

    def step(self, state: Array, x: Inputs) -> Array:
        """`A <- a A - step G`, with G at W; then W is made anew."""
        weights, source = _halves(state)
        gradient, _ = self.descent(weights, x)
        return self._imaged(self._descended(source, gradient, x))

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Back through f, then as in every descent, A and W apart."""
        weights, source = _halves(state)
        gradient, kept = self.descent(weights, x)
        d_after = self._imaged_backward(self._descended(source, gradient, x), d_state)
        d_source = column(np.exp(x["log_decay"])) * d_after
        d_weights, d_x = self.descent_backward(kept, x, -column(x["step"]) * d_after)
        return stacked(d_weights, d_source), {
            **d_x,
            "step": -(d_after * gradient).sum(axis=(-2, -1)),
            "log_decay": (d_source * source).sum(axis=(-2, -1)),
        }

    def _descended(self, source: Array, gradient: Array, x: Inputs) -> Array:
        after: Array = column(np.exp(x["log_decay"])) * source - column(x["step"]) * gradient
        return after

    def _imaged(self, source: Array) -> Array:
        """W over A; w_out lies transposed, so its inputs are in the last axis."""
        first, second = _halves(source)
        return stacked(self.image(first, -2), self.image(second, -1), source)

    def _imaged_backward(self, source: Array, d_state: Array) -> Array:
        first, second = _halves(source)
        d_image, d_source = _halves(d_state)
        d_first, d_second = _halves(d_image)
        return d_source + stacked(
            self.image_backward(first, -2, d_first), self.image_backward(second, -1, d_second)
        )


def _halves(stack: Array) -> tuple[Array, Array]:
    return matrices(stack, stack.shape[-2] // 2)


def _source(inputs: Inputs) -> Array:
    return stacked(inputs["w_in"], inputs["w_out"].swapaxes(1, 2))


def even(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Zero: a step begins at half of the largest; the bias is trained, since how far W moves for a
    step depends on where A has come to."""
    return np.zeros(shape)


def lasting(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Three: `log(sigmoid(3)) / 16` keeps 0.997 of A per token.

    What W reads keys with is A's start more than what tokens write, and is to last for a row.
    """
    return np.full(shape, 3.0)
