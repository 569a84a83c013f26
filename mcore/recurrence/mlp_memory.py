"""What all deep memories share: a state that is a perceptron, its read and its inner gradient.

    M(x) = x + gelu(x @ w_in) @ w_out          (Behrouz et al. 2026, section 5; exact GELU)
    M_t = a_t M_{t-1} - step_t grad l(M_{t-1}),   a_t = exp(log_decay_t)

A head's state is a stack of (K, E) matrices: w_in, the transpose of w_out (V = K), and whatever
else a rule carries, such as a momentum of both.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.errors import ShapeError, SpecError
from mcore.recurrence.base import Dims, Feature, Gate, Inputs, Law, Parameter, Recurrence
from mcore.recurrence.gelu import Gelu, gelu
from mcore.recurrence.matrix import TOKEN_INPUTS, outer, times, transposed_times

LARGEST_STEP = 0.25
"""Of a layer. Descent on a quadratic of curvature c is stable for steps below 2 / c, and with unit
keys the curvature is about the squared norm of the hidden vector: near 1 at the start."""


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
class MlpMemory(Recurrence):
    """A two-layer perceptron per head, trained by each token on its key and value.

    Attributes:
        expansion: E / K, which a layer gives its memory; raw arrays bring their own E.
    """

    family: ClassVar[str] = "deep"
    square: ClassVar[bool] = True

    expansion: int = field(
        default=4,
        metadata={"description": "Hidden width of the memory over its key width.", "least": 1},
    )

    def __post_init__(self) -> None:
        check_positive("expansion", self.expansion)

    @abstractmethod
    def error(self, answer: Array, x: Inputs) -> Array:
        """r, the gradient of the token's inner loss with respect to M(k)."""

    @abstractmethod
    def error_backward(
        self, answer: Array, x: Inputs, d_error: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Gradient of `error`: with respect to the answer, and to entries of `x`."""

    @property
    def copies(self) -> int:
        """How many arrays of the perceptron's size make up a state."""
        return 1

    @property
    def linear_read(self) -> bool:
        """Never: a perceptron is not linear in its weights."""
        return False

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v, each token's step size and decay, and the perceptron that all start from."""
        gates = {"step": "B T H", "log_decay": "B T H"}
        return {**TOKEN_INPUTS, **gates, "w_in": "H K E", "w_out": "H E V"}

    @property
    def features(self) -> dict[str, Law]:
        """Unit vectors, small sigmoid steps, slow forgetting, a fan-in scaled perceptron."""
        return {
            "q": Feature(unit=True),
            "k": Feature(unit=True),
            "v": Feature(unit=True),
            "step": Gate("sigmoid", largest=LARGEST_STEP),
            "log_decay": Gate("decay"),
            "w_in": Parameter(fan_in),
            "w_out": Parameter(fan_in),
        }

    def sizes(self, key: int, value: int) -> dict[str, int]:
        """`E = expansion K`."""
        return {**super().sizes(key, value), "E": self.expansion * key}

    def dims(self, inputs: Inputs) -> Dims:
        """Sizes of a call; E is that of w_in.

        Raises:
            ShapeError: values are not as wide as keys.
        """
        dims = super().dims(inputs)
        if dims.K != dims.V:
            raise ShapeError(
                f"v: is {dims.V} wide and k {dims.K}; {self.kind} adds x to what its perceptron "
                "says, so V = K would do"
            )
        return dims._replace(E=inputs["w_in"].shape[-1])

    def state_shape(self, dims: Dims) -> tuple[int, ...]:
        """(2 K copies, E)."""
        return (2 * self.copies * dims.K, dims.E)

    def unflatten(self, flat: Array, width: int) -> Array:
        """(..., P) to (..., 2 K copies, E)."""
        rows = 2 * self.copies * width
        return flat.reshape(*flat.shape[:-1], rows, flat.shape[-1] // rows)

    def flops(self, dims: Dims) -> float:
        """A read, one more for the error and half of one back, and the updates of all copies."""
        updates = 2.0 * (1 + self.copies) * 2.0 * dims.K * dims.E
        return 2.5 * self.read_flops(dims) + updates

    def read_flops(self, dims: Dims) -> float:
        """Two products with (K, E) matrices."""
        return 4.0 * dims.K * dims.E

    def initial(self, inputs: Inputs, dims: Dims) -> Array:
        """w_in and w_out; all else zero."""
        xp = namespace(inputs["w_in"])
        weights = xp.concatenate([inputs["w_in"], inputs["w_out"].swapaxes(1, 2)], axis=1)
        flat = weights.reshape(dims.H, -1)
        size = int(np.prod(self.state_shape(dims)))
        rest = xp.zeros((dims.H, size - flat.shape[1]), flat.dtype)
        initial: Array = xp.concatenate([flat, rest], axis=1)
        return initial

    def initial_backward(self, inputs: Inputs, d_initial: Array) -> dict[str, Array]:
        """Summed over the rows of the batch."""
        total = d_initial.sum(axis=0)
        width = total.shape[-2] // (2 * self.copies)
        w_out = total[:, width : 2 * width].swapaxes(1, 2)
        return {"w_in": total[:, :width], "w_out": w_out}

    def read(self, state: Array, q: Array) -> Array:
        """`q + gelu(q @ w_in) @ w_out`."""
        w_in, w_out = matrices(state, q.shape[-1])
        return q + times(w_out, gelu(transposed_times(w_in, q)).value)

    def read_backward(self, state: Array, q: Array, dy: Array) -> tuple[Array, Array]:
        """With a = q @ w_in: `da = gelu'(a) (w_out dy)`, `dw_in = q da^T`, `dw_out = gelu(a) dy^T`.

        The rest of the state is not looked at.
        """
        w_in, w_out = matrices(state, q.shape[-1])
        hidden = gelu(transposed_times(w_in, q))
        d_hidden = transposed_times(w_out, dy) * hidden.slope
        d_weights = stacked(outer(q, d_hidden), outer(dy, hidden.value))
        return self._padded(d_weights), dy + times(w_in, d_hidden)

    def step(self, state: Array, x: Inputs) -> Array:
        """`a M - step G`, with G at M before its decay."""
        gradient, _ = self.descent(state, x)
        after: Array = column(np.exp(x["log_decay"])) * state - column(x["step"]) * gradient
        return after

    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """`dG = -step dM`, `dstep = -<dM, G>`, `da = <dM, M>`; then back through G."""
        gradient, kept = self.descent(state, x)
        decayed = column(np.exp(x["log_decay"])) * d_state
        d_weights, d_x = self.descent_backward(kept, x, -column(x["step"]) * d_state)
        return decayed + d_weights, {
            **d_x,
            "step": -(d_state * gradient).sum(axis=(-2, -1)),
            "log_decay": (decayed * state).sum(axis=(-2, -1)),
        }

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

    def _padded(self, d_weights: Array) -> Array:
        """Zeros for what a read does not look at."""
        if self.copies == 1:
            return d_weights
        xp = namespace(d_weights)
        *lead, rows, width = d_weights.shape
        rest = xp.zeros((*lead, rows * (self.copies - 1), width), d_weights.dtype)
        padded: Array = xp.concatenate([d_weights, rest], axis=-2)
        return padded


def matrices(stack: Array, width: int) -> tuple[Array, Array]:
    """The first two (K, E) matrices of a stack (..., n K, E)."""
    return stack[..., :width, :], stack[..., width : 2 * width, :]


def stacked(*parts: Array) -> Array:
    """Stacks of (K, E) matrices, one below the other."""
    whole: Array = namespace(parts[0]).concatenate(parts, axis=-2)
    return whole


def column(x: Array) -> Array:
    """A number per head, to multiply its state by."""
    return x[..., None, None]


def fan_in(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal numbers of variance 1 / I for a matrix (..., I, O)."""
    weights: Array = rng.standard_normal(shape) * shape[-2] ** -0.5
    return weights


def check_positive(option: str, value: int) -> None:
    """Raise SpecError unless an option is at least 1."""
    if value < 1:
        raise SpecError(f"recurrence.{option}: {value} will not do; 1 or more would")
