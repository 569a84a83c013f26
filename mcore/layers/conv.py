"""Short causal convolution, one filter per channel: mixes each token with the W - 1 before it."""

from mcore.arrays import Array, namespace

Saved = tuple[Array, Array, Array | None]


def short_conv(
    x: Array, weight: Array, tail: Array, reach: Array | None = None
) -> tuple[tuple[Array, Array], Saved]:
    """Convolve each channel with its own filter over the current and the W - 1 previous tokens.

        y[t, c] = sum_j weight[c, W-1-j] x[t-j, c],   j = 0 .. W-1

    `tail` holds the W - 1 inputs before x (zeros at the start of a sequence); `new_tail` those
    before the token that comes next. Feeding a sequence in pieces gives the same bits as feeding
    it whole: every token adds the same products in the same order.

    `reach` (B, T) is how far back each token may look: j runs to W - 1 or to its reach.

    Shapes: x (B, T, C), weight (C, W), tail (B, W-1, C) -> y (B, T, C), new_tail (B, W-1, C).
    Source: depthwise convolution before q, k, v, as in Mamba (Gu and Dao 2023) and Gated DeltaNet.
    """
    xp = namespace(x)
    width, length = weight.shape[1], x.shape[1]
    inputs = xp.concatenate([tail, x], axis=1)
    taps = xp.ascontiguousarray(weight.T)
    y = inputs[:, width - 1 :] * taps[width - 1]
    for tap in range(width - 2, -1, -1):
        y += _reached(inputs[:, tap : tap + length] * taps[tap], width - 1 - tap, reach)
    return (y, inputs[:, length:].copy()), (inputs, taps, reach)


def short_conv_backward(saved: Saved, dy: Array, d_new_tail: Array) -> tuple[Array, Array, Array]:
    """Gradients of `short_conv`.

        d_inputs[t] = sum_j weight[W-1-j] dy[t+j] + what reaches the token through new_tail
        dweight[c, W-1-j] = sum_t dy[t, c] inputs[t-j, c]

    Shapes: dy (B, T, C), d_new_tail (B, W-1, C)
        -> dx (B, T, C), dweight (C, W), d_tail (B, W-1, C).
    """
    inputs, taps, reach = saved
    xp = namespace(dy)
    (width, channels), length = taps.shape, dy.shape[1]
    d_inputs = xp.zeros(inputs.shape, dy.dtype)
    d_inputs[:, length:] = d_new_tail
    dweight = xp.empty((channels, width), dy.dtype)
    for tap in range(width):
        window, seen = slice(tap, tap + length), _reached(dy, width - 1 - tap, reach)
        d_inputs[:, window] += seen * taps[tap]
        dweight[:, tap] = xp.einsum("btc,btc->c", seen, inputs[:, window])
    return d_inputs[:, width - 1 :], dweight, d_inputs[:, : width - 1]


def next_tail(tail: Array, x: Array) -> Array:
    """The inputs (B, W - 1, C) before the token that comes after x (B, T, C)."""
    missing = tail.shape[1] - x.shape[1]
    if missing <= 0:
        return x[:, -missing:].copy()
    ended: Array = namespace(x).concatenate([tail[:, -missing:], x], axis=1)
    return ended


def _reached(x: Array, distance: int, reach: Array | None) -> Array:
    """x (B, T, C), with 0 where a token does not look so far back."""
    if reach is None or distance == 0:
        return x
    seen: Array = namespace(x).where((reach >= distance)[..., None], x, 0)
    return seen
