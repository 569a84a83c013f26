"""Lots by which a random router chooses: the hash of `mcore.router`.

On signed integers, whose sums and products have the same bits: runtimes lack the unsigned ones.
"""

import numpy as np

from mcore.export import ops
from mcore.export.builder import Tensor
from mcore.export.readouts.base import Scene
from mcore.router import GOLDEN, MULTIPLIERS


def lots(seed: int, scene: Scene) -> Tensor:
    """(B, S, H) float64 whole numbers below 2^53; -1 where a slot is empty."""
    builder, ordinal = scene.position.builder, ops.expand(scene.held.ordinal, -1)
    heads = builder.constant(np.arange(scene.form.dims.H, dtype=np.int64))
    drawn = _mix(builder.constant(np.full(1, seed, np.int64)))
    for part in (ops.expand(scene.position, -1, -2), heads, ordinal):
        drawn = _mix(_xor(drawn, part))
    seen = ops.at_least(ordinal, 0)
    return ops.where(seen, ops.cast(_shifted(drawn, 11), "float64"), -1.0)


def _mix(z: Tensor) -> Tensor:
    """The finaliser of SplitMix64."""
    z = z + _signed(GOLDEN)
    z = _xor(z, _shifted(z, 30)) * _signed(MULTIPLIERS[0])
    z = _xor(z, _shifted(z, 27)) * _signed(MULTIPLIERS[1])
    return _xor(z, _shifted(z, 31))


def _signed(number: int) -> int:
    """The int64 of the same bits."""
    return number - (1 << 64) if number >> 63 else number


def _xor(x: Tensor, y: Tensor) -> Tensor:
    return x.builder.node("BitwiseXor", [x, y], "int64")


def _shifted(x: Tensor, bits: int) -> Tensor:
    plain = ops.cast(x, "uint64")
    shifted = x.builder.node(
        "BitShift", [plain, plain.like(bits)], "uint64", {"direction": "RIGHT"}
    )
    return ops.cast(shifted, "int64")
