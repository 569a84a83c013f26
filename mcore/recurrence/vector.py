"""What all vector memories share: inputs, the read, and gates from a token and the vector before.

The state is one or more vectors of width V, the first of them `h`, which is what a read returns.
No query is needed: `read` takes one of width 0.

Behrouz et al. 2026, section 4.1 (memories without keys); the mapping to vector rules is ours.
"""

from typing import Any, ClassVar

import numpy as np

from mcore.arrays import Array, namespace
from mcore.recurrence.base import Dims, Inputs, Recurrence
from mcore.recurrence.laws import Feature, Law, Parameter


class VectorMemory(Recurrence):
    """Vectors of width V, read as `y = h`.

    Attributes:
        gates: number G of gates that a token's input `x` (B, T, H, G*V) holds, one after another.
        vectors: number of vectors in a state.
    """

    family: ClassVar[str] = "vector"
    gates: ClassVar[int]
    vectors: ClassVar[int]

    @property
    def inputs(self) -> dict[str, str]:
        """The gates' pre-activations, and what the vector before adds to them."""
        return {"x": "B T H G*V", "recurrent": "H V G*V"}

    @property
    def prepared(self) -> dict[str, str]:
        """With a query of width 0."""
        return {**self.inputs, "q": "B T H K"}

    @property
    def features(self) -> dict[str, Law]:
        """A projection with a bias, and recurrent weights uniform within +-V^-1/2."""
        x = Feature(conv=False, silu=False, bias=self.start_bias)
        return {"x": x, "recurrent": Parameter(uniform)}

    def start_bias(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """(H, G*V) the bias in `x` at the start; here 0."""
        return np.zeros(shape)

    def sizes(self, key: int, value: int) -> dict[str, int]:
        """K serves the routing only; G is the rule's."""
        return {"K": key, "V": value, **self.fixed}

    @property
    def fixed(self) -> dict[str, int]:
        """G."""
        return {"G": self.gates}

    def dims(self, inputs: Inputs) -> Dims:
        """K is the width of `k` where the readout routes, else 0."""
        rows, tokens, heads, _ = inputs["x"].shape
        key = inputs["k"].shape[-1] if "k" in inputs else 0
        return Dims(rows, tokens, heads, key, inputs["recurrent"].shape[1])

    def state_shape(self, dims: Dims) -> tuple[int, ...]:
        """(vectors, V)."""
        return (self.vectors, dims.V)

    def flops(self, dims: Dims) -> float:
        """`h U`; what is done per channel is little beside it."""
        return 2.0 * dims.V * self.gates * dims.V

    def read_flops(self, dims: Dims) -> float:
        """A gate times h."""
        return 2.0 * dims.V

    def unflatten(self, flat: Array, width: int) -> Array:
        """(..., P) to (..., vectors, V)."""
        return flat.reshape(*flat.shape[:-1], self.vectors, flat.shape[-1] // self.vectors)

    def prepare(self, inputs: Inputs) -> tuple[dict[str, Array], Any]:
        """Adds a query of width 0."""
        x = inputs["x"]
        return {**inputs, "q": namespace(x).empty((*x.shape[:3], 0), x.dtype)}, None

    def prepare_backward(self, saved: Any, d_prepared: dict[str, Array]) -> dict[str, Array]:
        """Without the query."""
        return {name: gradient for name, gradient in d_prepared.items() if name != "q"}

    def read(self, state: Array, q: Array) -> Array:
        """`y = h`, whatever the query."""
        h = state[..., 0, :]
        y: Array = np.broadcast_to(h, np.broadcast_shapes(h.shape, (*q.shape[:-1], h.shape[-1])))
        return y

    def read_backward(self, state: Array, q: Array, dy: Array) -> tuple[Array, Array]:
        """`dh = dy`; nothing else was read."""
        d_state = namespace(dy).zeros((*dy.shape[:-1], *state.shape[-2:]), dy.dtype)
        d_state[..., 0, :] = dy
        return d_state, np.zeros_like(q)

    def split(self, gates: Array) -> list[Array]:
        """(..., G*V) to G arrays (..., V)."""
        width = gates.shape[-1] // self.gates
        return [gates[..., i * width : (i + 1) * width] for i in range(self.gates)]


def product(h: Array, recurrent: Array) -> Array:
    """`h U` per head: (B, H, V), (H, V, N) -> (B, H, N)."""
    total: Array = np.einsum("bhv,hvn->bhn", h, recurrent)
    return total


def product_backward(h: Array, recurrent: Array, d_product: Array) -> tuple[Array, Array]:
    """`dh = d U^T`, and `dU = sum over rows of h^T d`."""
    dh: Array = np.einsum("bhn,hvn->bhv", d_product, recurrent)
    d_recurrent: Array = np.einsum("bhv,bhn->hvn", h, d_product)
    return dh, d_recurrent


def sigmoid(x: Array) -> Array:
    """`1 / (1 + e^-x)`, which never overflows."""
    y: Array = 0.5 * (1 + np.tanh(0.5 * x))
    return y


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Recurrent weights (H, V, G*V), uniform within +-V^-1/2."""
    bound = shape[1] ** -0.5
    return rng.uniform(-bound, bound, shape)
