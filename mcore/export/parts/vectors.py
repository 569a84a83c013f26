"""A vector input of a mixer: convolution, bias, SiLU, unit length, scale, rotation."""

import numpy as np

from mcore.arrays import Array
from mcore.export import ops
from mcore.export.algebra import per_head, silu, unit_norm
from mcore.export.builder import Tensor
from mcore.export.parts.base import Around
from mcore.layers.rope import BASE
from mcore.model.slot import Slot
from mcore.recurrence import Feature

TURN = 2 * np.pi


def vector(slot: Slot, heads: int, around: Around, x: Tensor, position: Tensor) -> Tensor:
    """(B, H, width) from its columns x (B, H width), which have been convolved."""
    law = slot.law
    assert isinstance(law, Feature)
    if law.bias is not None:
        x = x + around.weight(x.builder, slot.bias)
    y = per_head(silu(x) if law.silu else x, heads)
    y = unit_norm(y) if law.unit else y
    y = y if slot.scale == 1.0 else y * slot.scale
    return rotary(y, position, slot.width) if law.rotary else y


def rotary(x: Tensor, position: Tensor, width: int) -> Tensor:
    """Channel i turned with channel i + width // 2 by `position BASE^(-i / half)`.

    Angles are float64, as a stream may be long; x (B, H, width).
    """
    half = width // 2
    rates = BASE ** (-np.arange(half, dtype=np.float64) / max(half, 1))
    turns = ops.expand(ops.cast(position, "float64"), -1) * position.builder.constant(rates / TURN)
    angle = ops.cast((turns - ops.floor(turns)) * TURN, "float32")
    cos, sin = (ops.expand(f(angle), 1) for f in (ops.cos, ops.sin))
    first, second = ops.part(x, -1, 0, half), ops.part(x, -1, half, 2 * half)
    turned = [first * cos - second * sin, first * sin + second * cos]
    return ops.concatenate([*turned, ops.part(x, -1, 2 * half, width)][: 2 + width % 2], -1)


def convolved(x: Tensor, tail: Tensor, weight: Array, around: Around) -> tuple[Tensor, Tensor]:
    """The short convolution of x (B, C) after its tail (B, W - 1, C), and the next tail."""
    taps = around.piece(x.builder, "conv.taps", weight.T)
    inputs = ops.concatenate([tail, ops.expand(x, 1)], 1)
    return ops.total(inputs * taps, 1), ops.part(inputs, 1, 1, weight.shape[1])
