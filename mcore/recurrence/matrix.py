"""What all matrix memories share: the state, its read, and outer products.

The state is `S` of shape (K, V), the transpose of the papers' M, so that `M q = S^T q`.
"""

from typing import ClassVar

import numpy as np

from mcore.arrays import Array
from mcore.recurrence.base import Dims, Recurrence
from mcore.recurrence.laws import Feature, Law

TOKEN_INPUTS = {"q": "B T H K", "k": "B T H K", "v": "B T H V"}


def outer(a: Array, b: Array) -> Array:
    """`a b^T` over the last axes: (..., K), (..., V) -> (..., K, V)."""
    return a[..., :, None] * b[..., None, :]


def times(matrix: Array, vector: Array) -> Array:
    """`A x`: (..., K, V), (..., V) -> (..., K)."""
    product: Array = np.einsum("...kv,...v->...k", matrix, vector)
    return product


def transposed_times(matrix: Array, vector: Array) -> Array:
    """`A^T x`: (..., K, V), (..., K) -> (..., V)."""
    product: Array = np.einsum("...kv,...k->...v", matrix, vector)
    return product


class MatrixMemory(Recurrence):
    """A (K, V) state read as `y = S^T q`.

    Attributes:
        corrects: whether a token writes its value's error (delta rules) instead of its value.
    """

    family: ClassVar[str] = "matrix"
    corrects: ClassVar[bool] = False

    @property
    def inputs(self) -> dict[str, str]:
        """q, k, v."""
        return dict(TOKEN_INPUTS)

    @property
    def learns_from_error(self) -> bool:
        """If it corrects."""
        return self.corrects

    @property
    def features(self) -> dict[str, Law]:
        """Convolved, SiLU-activated q, k, v; q scaled by K^-1/2."""
        return {"q": Feature(scale=True), "k": Feature(), "v": Feature()}

    def state_shape(self, dims: Dims) -> tuple[int, ...]:
        """(K, V)."""
        return (dims.K, dims.V)

    def unflatten(self, flat: Array, width: int) -> Array:
        """(..., P) to (..., K, P / K)."""
        return flat.reshape(*flat.shape[:-1], width, flat.shape[-1] // width)

    def read(self, state: Array, q: Array) -> Array:
        """`y = S^T q`."""
        return transposed_times(state, q)

    def read_backward(self, state: Array, q: Array, dy: Array) -> tuple[Array, Array]:
        """`dS = q dy^T`, `dq = S dy`."""
        return outer(q, dy), times(state, dy)
