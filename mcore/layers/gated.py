"""Gates on what a layer returns, without a norm: one answer scaled, or two of them mixed."""

from mcore.arrays import Array
from mcore.layers.activations import sigmoid, silu, silu_backward

GatedSaved = tuple[Array, Array, tuple[Array, Array]]
BlendSaved = tuple[Array, Array]


def gated(y: Array, gate: Array) -> tuple[Array, GatedSaved]:
    """Scale each channel by its own gate.

        out = y silu(gate)

    Shapes: y, gate (...) -> out (...).
    Source: Mamba-2 (Dao and Gu 2024), which normalises after it.
    """
    opened, saved = silu(gate)
    return y * opened, (y, opened, saved)


def gated_backward(saved: GatedSaved, dy: Array) -> tuple[Array, Array]:
    """Gradients of `gated`.

        d_y = dy silu(gate)        dgate = dy y silu'(gate)

    Shapes: dy (...) -> d_y, dgate (...).
    """
    y, opened, kept = saved
    return dy * opened, silu_backward(kept, dy * y)


def blend(first: Array, second: Array, gate: Array) -> tuple[Array, BlendSaved]:
    """Two answers mixed, channel by channel.

        out = s first + (1 - s) second,        s = sigmoid(gate)

    Shapes: first, second, gate (...) -> out (...).
    """
    share, _ = sigmoid(gate)
    difference = first - second
    return second + share * difference, (share, difference)


def blend_backward(saved: BlendSaved, dy: Array) -> tuple[Array, Array, Array]:
    """Gradients of `blend`.

        dfirst = s dy        dsecond = (1 - s) dy        dgate = dy (first - second) s (1 - s)

    Shapes: dy (...) -> dfirst, dsecond, dgate (...).
    """
    share, difference = saved
    d_first = share * dy
    d_second = dy - d_first
    return d_first, d_second, d_second * share * difference
