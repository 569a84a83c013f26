"""What goes past a memory, from a token's own inputs to its output."""

from typing import NamedTuple

from mcore.arrays import Array, namespace

ScaledSaved = tuple[Array, Array]


class BonusSaved(NamedTuple):
    """What `bonus` keeps."""

    q: Array
    k: Array
    v: Array
    weight: Array
    score: Array


def scaled(x: Array, weight: Array) -> tuple[Array, ScaledSaved]:
    """A value times a trained number per head.

        y = D_h x

    Shapes: x (B, T, H, V), weight (H,) -> y (B, T, H, V).
    Source: the skip `D x` of Mamba-2 (Dao and Gu 2024).
    """
    return x * weight[:, None], (x, weight)


def scaled_backward(saved: ScaledSaved, dy: Array) -> tuple[Array, Array]:
    """Gradients of `scaled`.

        dx = D_h dy        dD_h = sum of dy x

    Shapes: dy (B, T, H, V) -> dx (B, T, H, V), dweight (H,).
    """
    x, weight = saved
    return dy * weight[:, None], namespace(dy).einsum("bthv,bthv->h", dy, x)


def bonus(q: Array, k: Array, v: Array, weight: Array) -> tuple[Array, BonusSaved]:
    """A token's own value, as much as its query and its key agree.

        y = s v,        s = sum over channels of q k w

    Shapes: q, k (B, T, H, K), v (B, T, H, V), weight (H K,) -> y (B, T, H, V).
    Source: RWKV-7 (Peng et al. 2025).
    """
    weight = weight.reshape(q.shape[2:])
    score = namespace(q).einsum("bthk,bthk,hk->bth", q, k, weight)
    return v * score[..., None], BonusSaved(q, k, v, weight, score)


def bonus_backward(saved: BonusSaved, dy: Array) -> tuple[Array, Array, Array, Array]:
    """Gradients of `bonus`.

        dv = s dy        ds = <dy, v>
        dq = ds k w        dk = ds q w        dw = sum of ds q k

    Shapes: dy (B, T, H, V) -> dq, dk (B, T, H, K), dv (B, T, H, V), dweight (H K,).
    """
    q, k, v, weight, score = saved
    xp = namespace(dy)
    d_score = xp.einsum("bthv,bthv->bth", dy, v)[..., None]
    dq, dk = d_score * k, d_score * q
    d_weight = xp.einsum("bthk,bthk->hk", dq, q).reshape(-1)
    dq *= weight
    dk *= weight
    return dq, dk, dy * score[..., None], d_weight
