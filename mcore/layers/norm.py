"""Normalisation over the last axis: to unit mean square, or to unit length."""

from mcore.arrays import Array, namespace
from mcore.layers.linear import rows

RmsSaved = tuple[Array, Array, Array]
UnitSaved = tuple[Array, Array]


def rms_norm(x: Array, weight: Array, eps: float = 1e-6) -> tuple[Array, RmsSaved]:
    """Scale the last axis to unit mean square, then per channel (Zhang and Sennrich 2019, Eq. 4).

        r = 1 / sqrt(mean(x^2) + eps)        y = r x w

    Shapes: x (..., D), weight (D,) -> y (..., D). Per head: x (B, T, H, V), weight (V,).
    """
    scale = inverse_rms(x, eps)
    y = x * scale
    y *= weight
    return y, (x, scale, weight)


def rms_norm_backward(
    saved: RmsSaved, dy: Array, beside: Array | None = None
) -> tuple[Array, Array]:
    """Gradients of `rms_norm`; `beside` (..., D), what goes past the norm, is added to dx.

        dx = r (dy w - r^2 x mean(dy w x)) + beside        dw = sum over rows of r dy x

    Shapes: dy (..., D) -> dx (..., D), dweight (D,).
    """
    x, scale, weight = saved
    product = rows(dy * x)
    inner = (product @ weight).reshape(scale.shape)
    dweight = scale.reshape(-1) @ product
    dx = dy * weight
    dx *= scale
    pull = x * (inner * scale**3 / x.shape[-1])
    dx -= pull
    if beside is not None:
        dx += beside
    return dx, dweight


def unit_norm(x: Array, eps: float = 1e-6) -> tuple[Array, UnitSaved]:
    """Scale the last axis to unit length, as keys and queries of a delta rule need.

        r = 1 / sqrt(sum(x^2) + eps)        y = r x

    Shapes: x (..., D) -> y (..., D).
    """
    xp = namespace(x)
    scale = 1 / xp.sqrt(xp.einsum("...d,...d->...", x, x)[..., None] + eps)
    y = x * scale
    return y, (y, scale)


def unit_norm_backward(saved: UnitSaved, dy: Array) -> Array:
    """Gradient of `unit_norm`.

        dx = r (dy - y sum(dy y))

    Shapes: dy (..., D) -> dx (..., D).
    """
    y, scale = saved
    inner = namespace(y).einsum("...d,...d->...", dy, y)[..., None]
    dx: Array = dy - y * inner
    dx *= scale
    return dx


def inverse_rms(x: Array, eps: float) -> Array:
    """1 / sqrt(mean(x^2) + eps) over the last axis, which stays with length 1."""
    xp = namespace(x)
    square = xp.einsum("...d,...d->...", x, x)[..., None]
    scale: Array = 1 / xp.sqrt(square / x.shape[-1] + eps)
    return scale
