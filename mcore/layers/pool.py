"""The mean of all tokens so far."""

import numpy as np

from mcore.arrays import Array, namespace
from mcore.placing import like

Saved = tuple[Array, Array]


def running_mean(x: Array, total: Array, count: Array) -> tuple[Array, Saved]:
    """At each token, the mean of it and of all before it, those of earlier calls included.

        y_t = (total + x_1 + ... + x_t) / (count + t)

    Shapes: x (B, T, D), total (B, D) the sum over the `count` (B,) tokens before, which are
    counted on the host -> y (B, T, D).
    """
    sums = namespace(x).cumsum(x, axis=1) + total[:, None]
    counts = (count[:, None] + np.arange(1, x.shape[1] + 1)).astype(x.dtype)[..., None]
    counts = like(x, counts)
    return sums / counts, (sums[:, -1], counts)


def running_mean_backward(saved: Saved, dy: Array) -> Array:
    """Gradient of `running_mean` for x; what came before is a constant.

        dx_s = sum over t >= s of dy_t / (count + t)

    Shapes: dy (B, T, D) -> dx (B, T, D).
    """
    share = dy / saved[1]
    dx: Array = namespace(dy).cumsum(share[:, ::-1], axis=1)[:, ::-1]
    return dx
