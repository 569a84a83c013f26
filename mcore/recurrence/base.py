"""What a recurrence is: one token's update of the memory, and how a memory is read.

A rule states its equations once, for one token, vectorised over leading axes (B, H). From that the
reference backend derives every operation; fast backends implement whole families of rules.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace

Inputs = Mapping[str, Array]


class Dims(NamedTuple):
    """Sizes of one call: batch rows, tokens, heads, key width, value width."""

    B: int
    T: int
    H: int
    K: int
    V: int


@dataclass(frozen=True)
class Feature:
    """How a layer makes one vector input (q, k, v) from x: projection, then these in order.

    Attributes:
        conv: short causal convolution.
        silu: SiLU activation.
        unit: L2 norm over the head's width.
        scale: multiplied by width^-1/2.
    """

    conv: bool = True
    silu: bool = True
    unit: bool = False
    scale: bool = False


@dataclass(frozen=True)
class Gate:
    """How a layer makes one scalar input per head from x.

    `sigmoid`: `sigmoid(x W)`. `decay`: `-exp(a_log) softplus(x W + dt_bias)`.
    """

    law: str


@dataclass(frozen=True)
class Parameter:
    """An input that is the same for all tokens.

    Attributes:
        start: its starting value, from a random generator and its shape.
        trained: whether it is a parameter of the model, or stays as it starts.
    """

    start: Callable[[np.random.Generator, tuple[int, ...]], Array]
    trained: bool = True


Law = Feature | Gate | Parameter


class Recurrence(ABC):
    """Base of all rules. A state is an array (B, H, *state_shape)."""

    kind: ClassVar[str]
    family: ClassVar[str]
    """The kind of memory, by which kernels are shared: `matrix`."""

    @property
    def linear_read(self) -> bool:
        """Whether `read` is linear in the state, so that mixing states is mixing answers."""
        return True

    @property
    @abstractmethod
    def inputs(self) -> dict[str, str]:
        """Declared inputs: name -> axes. Those without T are parameters."""

    @property
    @abstractmethod
    def features(self) -> dict[str, Law]:
        """How a memory layer makes each input from x, and so how it is initialised."""

    def sizes(self, key: int, value: int) -> dict[str, int]:
        """Lengths of the declared axes that follow from K and V."""
        return {"K": key, "V": value}

    @abstractmethod
    def state_shape(self, dims: Dims) -> tuple[int, ...]:
        """Shape of one head's state."""

    @abstractmethod
    def unflatten(self, flat: Array, width: int) -> Array:
        """(..., P) to (..., *state_shape), given the key width K."""

    @abstractmethod
    def step(self, state: Array, x: Inputs) -> Array:
        """The state after one token; `x` maps names to (B, H, ...), parameters to what they are."""

    @abstractmethod
    def step_backward(
        self, state: Array, x: Inputs, d_state: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Gradients of `step`: with respect to the state before, and to each entry of `x`.

        The gradient of a parameter has the parameter's shape: summed over the rows of the batch.
        """

    @abstractmethod
    def read(self, state: Array, q: Array) -> Array:
        """The answer (..., V) of a state to queries (..., K)."""

    @abstractmethod
    def read_backward(self, state: Array, q: Array, dy: Array) -> tuple[Array, Array]:
        """Gradients of `read`: with respect to the state and to q."""

    def dims(self, inputs: Inputs) -> Dims:
        """Sizes of a call; here read off q (B, T, H, K) and v (B, T, H, V)."""
        rows, tokens, heads, key = inputs["q"].shape
        return Dims(rows, tokens, heads, key, inputs["v"].shape[-1])

    @property
    def prepared(self) -> dict[str, str]:
        """Axes of the inputs after `prepare`; here as declared."""
        return self.inputs

    def is_parameter(self, name: str) -> bool:
        """Whether a prepared input is the same for all tokens: it has no T axis."""
        return "T" not in self.prepared[name].split()

    def prepare(self, inputs: Inputs) -> tuple[dict[str, Array], Any]:
        """Pointwise maps that come before the recurrence and the routing; here: none.

        A rule whose read takes no query adds a `q` of width 0 here.
        """
        return dict(inputs), None

    def prepare_backward(self, saved: Any, d_prepared: dict[str, Array]) -> dict[str, Array]:
        """Gradient of `prepare`."""
        return d_prepared

    def initial(self, inputs: Inputs, dims: Dims) -> Array:
        """(H, P) the state at which a memory starts; zero for matrix memories."""
        like = next(iter(inputs.values()))
        size = int(np.prod(self.state_shape(dims)))
        initial: Array = namespace(like).zeros((dims.H, size), like.dtype)
        return initial

    def initial_backward(self, d_initial: Array) -> dict[str, Array]:
        """Gradient of `initial` with respect to the parameters it is made of."""
        return {}
