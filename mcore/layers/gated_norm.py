"""The output of a memory layer: each head normalised, then gated."""

from typing import NamedTuple

from mcore.arrays import Array, namespace
from mcore.layers.activations import sigmoid, silu_slope
from mcore.layers.linear import rows
from mcore.layers.norm import inverse_rms


class Saved(NamedTuple):
    """What `gated_rms_norm` keeps."""

    y: Array
    gate: Array
    open: Array
    scale: Array
    weight: Array


def gated_rms_norm(y: Array, gate: Array, weight: Array, eps: float = 1e-6) -> tuple[Array, Saved]:
    """Normalise every head's output, scale its channels, and gate them.

        out = rms_norm(y, weight) * silu(gate)

    Shapes: y (B, T, H, V), gate (B, T, H, V), weight (V,) -> out (B, T, H, V).
    Source: output of Gated DeltaNet (Yang et al. 2025) and of RetNet (Sun et al. 2023).
    """
    scale = inverse_rms(y, eps)
    opened, _ = sigmoid(gate)
    out = y * scale
    out *= weight
    out *= gate
    out *= opened
    return out, Saved(y, gate, opened, scale, weight)


def gated_rms_norm_backward(saved: Saved, dy: Array) -> tuple[Array, Array, Array]:
    """Gradients of `gated_rms_norm`, with n = r y, r = 1 / sqrt(mean(y^2) + eps), a = silu(gate).

        dgate = dy n w silu'(gate)        dweight = sum over rows of dy n a
        d_y = r (dy a w - n mean(dy a w n))

    Shapes: dy (B, T, H, V) -> d_y (B, T, H, V), dgate (B, T, H, V), dweight (V,).
    """
    xp = namespace(dy)
    normal = saved.y * saved.scale
    active = saved.gate * saved.open
    dgate = dy * normal
    product = rows(dgate * active)
    inner = (product @ saved.weight).reshape(saved.scale.shape)
    dgate *= saved.weight
    dgate *= silu_slope(active, saved.open)
    active *= dy
    active *= saved.weight
    normal *= inner / dy.shape[-1]
    active -= normal
    active *= saved.scale
    return active, dgate, xp.ones(len(product), product.dtype) @ product
