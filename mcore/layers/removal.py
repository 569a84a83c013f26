"""The two keys of RWKV-7: by one a token removes, by the other it writes."""

from typing import Any, NamedTuple

from mcore.arrays import Array, namespace
from mcore.layers.norm import unit_norm, unit_norm_backward

RemovalSaved = tuple[Array, Array, Any]


class ReplacementSaved(NamedTuple):
    """What `replacement_key` keeps."""

    k: Array
    a: Array
    weight: Array
    factor: Array


def removal_key(k: Array, weight: Array) -> tuple[Array, RemovalSaved]:
    """The direction in which a token removes what the memory holds.

        y = unit(k w)

    Shapes: k (B, T, H, K), weight (H K,) -> y (B, T, H, K).
    Source: RWKV-7 (Peng et al. 2025).
    """
    weight = weight.reshape(k.shape[2:])
    y, saved = unit_norm(k * weight)
    return y, (k, weight, saved)


def removal_key_backward(saved: RemovalSaved, dy: Array) -> tuple[Array, Array]:
    """Gradients of `removal_key`, with dz that of k w.

        dk = dz w        dw = sum of dz k

    Shapes: dy (B, T, H, K) -> dk (B, T, H, K), dweight (H K,).
    """
    k, weight, kept = saved
    dz = unit_norm_backward(kept, dy)
    return dz * weight, namespace(dy).einsum("bthk,bthk->hk", dz, k).reshape(-1)


def replacement_key(k: Array, a: Array, weight: Array) -> tuple[Array, ReplacementSaved]:
    """The key that a token writes by: the less it removes, the less it writes.

        y = k (1 + (a - 1) w)

    Shapes: k, a (B, T, H, K), weight (H K,) -> y (B, T, H, K).
    Source: RWKV-7 (Peng et al. 2025).
    """
    weight = weight.reshape(k.shape[2:])
    factor = (a - 1) * weight
    factor += 1
    return k * factor, ReplacementSaved(k, a, weight, factor)


def replacement_key_backward(saved: ReplacementSaved, dy: Array) -> tuple[Array, Array, Array]:
    """Gradients of `replacement_key`.

        dk = dy (1 + (a - 1) w)        da = dy k w        dw = sum of dy k (a - 1)

    Shapes: dy (B, T, H, K) -> dk, da (B, T, H, K), dweight (H K,).
    """
    k, a, weight, factor = saved
    da = dy * k
    d_weight = namespace(dy).einsum("bthk,bthk->hk", da, a - 1).reshape(-1)
    da *= weight
    return dy * factor, da, d_weight
