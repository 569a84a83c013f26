"""A vector input of a token mixer from its columns of the projection."""

from typing import Any, NamedTuple

from mcore.arrays import Array, namespace
from mcore.layers.activations import silu, silu_backward
from mcore.layers.conv import short_conv, short_conv_backward
from mcore.layers.norm import unit_norm, unit_norm_backward


class Form(NamedTuple):
    """What is done to the columns of each head.

    Attributes:
        heads: H.
        silu, unit: whether there is the activation, and the norm to unit length.
        scale: what the result is multiplied by.
    """

    heads: int
    silu: bool
    unit: bool
    scale: float


class Filter(NamedTuple):
    """A short convolution, `mcore.layers.conv.short_conv`.

    Attributes:
        weight: (C, W).
        tail: (B, W - 1, C) the inputs before the first token; a constant in backward.
        reach: (B, T) how far back each token may look; None for as far as W goes.
    """

    weight: Array
    tail: Array
    reach: Array | None


class Saved(NamedTuple):
    """What `feature` keeps."""

    form: Form
    conv: Any
    silu: Any
    unit: Any
    biased: bool


def feature(
    x: Array, form: Form, taps: Filter | None, bias: Array | None = None
) -> tuple[Array, Saved]:
    """Convolve, shift, activate, normalise per head, scale: each where it is wanted.

        y = scale unit(silu(conv(x) + bias))

    Shapes: x (B, T, C), its rows any distance apart, bias (C,) -> y (B, T, H, C / H).
    """
    conv_saved = silu_saved = unit_saved = None
    if taps is not None:
        (x, _), conv_saved = short_conv(x, *taps)
    if bias is not None:
        x = x + bias
    if form.silu:
        x, silu_saved = silu(x)
    y = x.reshape(*x.shape[:2], form.heads, -1)
    if form.unit:
        y, unit_saved = unit_norm(y)
    y = y if form.scale == 1.0 else y * form.scale
    return y, Saved(form, conv_saved, silu_saved, unit_saved, bias is not None)


def feature_backward(saved: Saved, dy: Array, dx: Array) -> tuple[Array | None, Array | None]:
    """Gradients of `feature` with respect to the filter's weight and the bias, None without.

    That with respect to x is written into `dx`, the columns of a wider gradient.

    Shapes: dy (B, T, H, C / H), dx (B, T, C) -> dweight (C, W), dbias (C,).
    """
    dz, d_weight = dy if saved.form.scale == 1.0 else dy * saved.form.scale, None
    if saved.unit is not None:
        dz = unit_norm_backward(saved.unit, dz)
    dz = dz.reshape(dx.shape)
    if saved.silu is not None:
        dz = silu_backward(saved.silu, dz)
    d_bias = dz.sum((0, 1)) if saved.biased else None
    if saved.conv is not None:
        rows, tokens, channels = dx.shape
        before = saved.conv[0].shape[1] - tokens
        ended = namespace(dx).zeros((rows, before, channels), dx.dtype)
        dz, d_weight, _ = short_conv_backward(saved.conv, dz, ended)
    dx[...] = dz
    return d_weight, d_bias
