"""What a recurrence is: one token's update of the memory, and how a memory is read.

A rule states its equations once, for one token, vectorised over leading axes (B, H). From that the
reference backend derives every operation; fast backends implement whole families of rules.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.laws import Law

Inputs = Mapping[str, Array]


class Dims(NamedTuple):
    """Sizes of one call: batch rows, tokens, heads, key and value width, hidden width if any."""

    B: int
    T: int
    H: int
    K: int
    V: int
    E: int = 0


class Recurrence(ABC):
    """Base of all rules. A state is an array (B, H, *state_shape)."""

    kind: ClassVar[str]
    family: ClassVar[str]
    """The kind of memory, by which kernels are shared: `matrix`, `vector`, `deep`."""

    square: ClassVar[bool] = False
    """Whether values must be as wide as keys."""

    finish: ClassVar[tuple[str, ...]] = ("norm", "gate")
    """What a layer does with the readout's answer y before its last projection, in this order.

    `norm`: each head to unit mean square; `wide_norm`: all heads together. `gate`: times silu(z);
    `times`: times z. `skip`: plus the input `skip`, which goes past the memory.
    """

    @property
    def learns_from_error(self) -> bool:
        """Whether a token writes how far the memory's answer to k is from v."""
        return False

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
        """How a memory layer makes each input from x, and so how it is initialised.

        Names that are not declared inputs serve others (`Derived`), or `finish`: `skip`, `z`.
        """

    def sizes(self, key: int, value: int) -> dict[str, int]:
        """Lengths of the declared axes that follow from K and V."""
        return {"K": key, "V": value}

    @property
    def fixed(self) -> dict[str, int]:
        """Lengths of the declared axes that the rule alone fixes; here none."""
        return {}

    @abstractmethod
    def state_shape(self, dims: Dims) -> tuple[int, ...]:
        """Shape of one head's state."""

    def flops(self, dims: Dims) -> float:
        """FLOPs of one token in one head, written and read; a multiply-add counts 2."""
        return 4.0 * prod(self.state_shape(dims))

    def read_flops(self, dims: Dims) -> float:
        """FLOPs of reading one head's memory once."""
        return 2.0 * prod(self.state_shape(dims))

    @abstractmethod
    def unflatten(self, flat: Array, width: int) -> Array:
        """(..., P) to (..., *state_shape), given the key width K."""

    @abstractmethod
    def step(self, state: Array, x: Inputs) -> Array:
        """The state after one token; `x` maps names to (B, H, ...), parameters to what they are.

        `x["position"]` (B, 1) is the number of tokens that came before in the token's segment.
        """

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

    def mix(self, states: Sequence[Array], gates: Array, seen: Array) -> Array:
        """What `soup` reads in place of several memories; here `sum_i gates_i state_i`.

        Args:
            states: (B, H, *state_shape) each, the online memory last.
            gates: (B, len(states), H), 0 where a memory is not seen.
            seen: (B, len(states)) bool.
        """
        mixed = _spread(gates[:, -1], states[-1]) * states[-1]
        for i, state in enumerate(states[:-1]):
            mixed = mixed + _spread(gates[:, i], state) * state
        return mixed

    def mix_backward(
        self, states: Sequence[Array], gates: Array, seen: Array, d_mixture: Array
    ) -> tuple[list[Array], Array]:
        """Gradients of `mix`: with respect to each state, and to the gates."""
        flat = d_mixture.reshape(*d_mixture.shape[:2], -1)
        products = [(flat * state.reshape(flat.shape)).sum(axis=-1) for state in states]
        spread = [_spread(gates[:, i], d_mixture) * d_mixture for i in range(len(states))]
        return spread, namespace(d_mixture).stack(products, axis=1)

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

    def initial_backward(self, inputs: Inputs, d_initial: Array) -> dict[str, Array]:
        """Gradient of `initial` with respect to the parameters it is made of."""
        return {}


def _spread(gate: Array, state: Array) -> Array:
    """(B, H) to broadcast over a state (B, H, ...)."""
    return gate.reshape(*gate.shape, *(1,) * (state.ndim - 2))
