"""Rotary positions: queries and keys turn with their place in the sequence."""

from types import ModuleType

from mcore.arrays import Array, namespace
from mcore.placing import sent

Saved = tuple[Array, Array]

BASE = 10000.0


def rotary(x: Array, start: int | Array) -> tuple[Array, Saved]:
    """Rotate channel i with channel i + K//2 by an angle that grows with the position.

        y_i     = x_i cos(a) - x_{i+h} sin(a)        a = p BASE^(-i/h),  h = K//2
        y_{i+h} = x_i sin(a) + x_{i+h} cos(a)        p = start + t

    The last channel of an odd K stays as it is. `start` is the position of the first token, of
    all rows or of each (B,), so that a stream continues where it stopped. Angles are computed in
    float64.

    Shapes: x (B, T, H, K) -> y (B, T, H, K).
    Source: Su et al. 2021, section 3.4.2, with the pairs of GPT-NeoX.
    """
    cos, sin = _tables(start, x, namespace(x))
    return _rotate(x, cos, sin), (cos, sin)


def rotary_backward(saved: Saved, dy: Array) -> Array:
    """Gradient of `rotary`: the inverse rotation.

    Shapes: dy (B, T, H, K) -> dx (B, T, H, K).
    """
    cos, sin = saved
    return _rotate(dy, cos, -sin)


def _tables(start: int | Array, x: Array, xp: ModuleType) -> tuple[Array, Array]:
    """cos(a), and sin(a) with the sign it has in y; each (T, 1, K), or (B, T, 1, K)."""
    half = x.shape[-1] // 2
    begin = start if isinstance(start, int) else sent(x, start)[..., None]
    position = xp.arange(x.shape[1], dtype="float64") + begin
    angle = position[..., None] * BASE ** (-xp.arange(half, dtype="float64") / max(half, 1))
    rest = xp.zeros((*position.shape, x.shape[-1] % 2))
    cos = xp.concatenate([xp.cos(angle), xp.cos(angle), rest + 1], axis=-1)
    sin = xp.concatenate([-xp.sin(angle), xp.sin(angle), rest], axis=-1)
    return cos[..., None, :].astype(x.dtype), sin[..., None, :].astype(x.dtype)


def _rotate(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    swapped = [x[..., half : 2 * half], x[..., :half], x[..., 2 * half :]]
    turned = namespace(x).concatenate(swapped, axis=-1)
    turned *= sin
    y = x * cos
    y += turned
    return y
