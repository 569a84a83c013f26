"""A perceptron as a memory: its declared inputs, its state and how it is read.

    M(x) = x + gelu(x @ w_in) @ w_out          (Behrouz et al. 2026, section 5; exact GELU)

A head's state is a stack of (K, E) matrices: w_in, the transpose of w_out (V = K), and whatever
else a rule carries, such as a momentum of both.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.errors import ShapeError, SpecError
from mcore.recurrence.base import Dims, Inputs, Recurrence
from mcore.recurrence.gelu import gelu
from mcore.recurrence.laws import Law
from mcore.recurrence.matrix import TOKEN_INPUTS, outer, times, transposed_times
from mcore.recurrence.perceptron_laws import LAWS
from mcore.recurrence.stack import matrices, stacked


@dataclass(frozen=True)
class Perceptron(Recurrence):
    """A two-layer perceptron per head; how tokens change it is up to the rule.

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
        """Unit queries and keys, steps in proportion to 1 / E, slow forgetting."""
        return dict(LAWS)

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
        return self._padded(d_weights, self.copies), dy + times(w_in, d_hidden)

    def _padded(self, d_weights: Array, copies: int) -> Array:
        """The perceptron's part of a stack of `copies`, over zeros."""
        if copies == 1:
            return d_weights
        xp = namespace(d_weights)
        *lead, rows, width = d_weights.shape
        rest = xp.zeros((*lead, rows * (copies - 1), width), d_weights.dtype)
        return stacked(d_weights, rest)


def check_positive(option: str, value: int) -> None:
    """Raise SpecError unless an option is at least 1."""
    if value < 1:
        raise SpecError(f"recurrence.{option}: {value} will not do; 1 or more would")
