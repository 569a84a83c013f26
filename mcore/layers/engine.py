"""What a backend may bring for an optimizer: the update of all parameters at once.

A backend brings it as an attribute `adamw`; `mcore.training.optim` is the definition.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mcore.arrays import Array


class Rates(NamedTuple):
    """Numbers of an update: the learning rate, b1 and b2, eps, and its number from 1 on."""

    rate: float
    betas: tuple[float, float]
    eps: float
    updates: int


class Tensors(NamedTuple):
    """All parameters in one order: themselves, m, v, and how much of each decays."""

    params: Sequence[Array]
    m: Sequence[Array]
    v: Sequence[Array]
    decay: Sequence[float]


class Engine(Protocol):
    """Norm and update of all tensors at once, where a backend brings them (`adamw`)."""

    def clip(
        self, grads: Sequence[Array], loss: Array | float, limit: float
    ) -> tuple[Array, Array]:
        """The norm of all gradients, and what brings it down to `limit` (0: none).

        Both are numbers on the device. The factor is NaN if the loss or the norm is not finite.
        """

    def update(self, tensors: Tensors, grads: Sequence[Array], rates: Rates, scale: Array) -> None:
        """One step down `scale * grads`; none if the scale is NaN."""
