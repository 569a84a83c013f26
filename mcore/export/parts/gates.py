"""A gate of a mixer from its columns of the projection."""

from collections.abc import Callable

from mcore.export import ops
from mcore.export.algebra import per_head, softplus
from mcore.export.builder import Tensor
from mcore.export.parts.base import Around
from mcore.layers.gates import SLOWNESS, STRONGEST
from mcore.model.slot import Slot
from mcore.recurrence import Gate


def slow_decay(x: Tensor) -> Tensor:
    """`log(sigmoid(x)) / 16`."""
    return softplus(-x) * (-1 / SLOWNESS)


def bounded_decay(x: Tensor) -> Tensor:
    """`-exp(-1/2) sigmoid(x)`."""
    return ops.logistic(x) * float(STRONGEST)


def identity(x: Tensor) -> Tensor:
    """x itself."""
    return x


POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": ops.logistic,
    "slow_decay": slow_decay,
    "bounded_decay": bounded_decay,
    "identity": identity,
    "tanh": ops.tanh,
}
"""As `mcore.model.gate.POINTWISE`."""


def gate(slot: Slot, heads: int, around: Around, x: Tensor) -> Tensor:
    """(B, H), or (B, H, width) through a bottleneck, from its columns x."""
    law, builder = slot.law, x.builder
    assert isinstance(law, Gate)
    if law.law == "decay":
        rate = ops.exp(around.weight(builder, "a_log"))
        return -rate * softplus(x + around.weight(builder, "dt_bias"))
    if law.rank:
        x = ops.matmul(POINTWISE[law.inner](x), around.weight(builder, slot.up))
    if law.bias is not None:
        x = x + around.weight(builder, slot.bias)
    y = POINTWISE[law.law](x)
    y = y if slot.scale == 1.0 else y * slot.scale
    return per_head(y, heads) if law.rank else y
