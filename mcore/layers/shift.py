"""Token shift: each stream sees a mix of a token and the one before it."""

from mcore.arrays import Array, namespace

Saved = tuple[Array, Array, Array | None]


def token_shift(
    x: Array, mix: Array, last: Array, reach: Array | None = None
) -> tuple[tuple[Array, Array], Saved]:
    """Move every channel towards the token before, by a trained share per stream and channel.

        y[n, b, t] = x[b, t] + mix[n] (x[b, t-1] - x[b, t])

    `last` holds the token before x (zeros at the start of a sequence); `new_last` the one before
    the token that comes next. Where `reach` (B, T) is 0, the token before counts as zeros.

    Shapes: x (B, T, D), mix (N, D), last (B, 1, D) -> y (N, B, T, D), new_last (B, 1, D).
    Source: RWKV-7 (Peng et al. 2025).
    """
    xp = namespace(x)
    before = xp.concatenate([last, x[:, :-1]], axis=1)
    step = (before if reach is None else xp.where((reach > 0)[..., None], before, 0)) - x
    y = mix[:, None, None] * step
    y += x
    return (y, x[:, -1:].copy()), (step, mix, reach)


def token_shift_backward(saved: Saved, dy: Array, d_new_last: Array) -> tuple[Array, Array, Array]:
    """Gradients of `token_shift`.

        dmix[n] = sum of dy[n] (x[t-1] - x[t])
        dx[t] = sum_n dy[n, t] (1 - mix[n]) + dy[n, t+1] mix[n]

    Shapes: dy (N, B, T, D), d_new_last (B, 1, D) -> dx (B, T, D), dmix (N, D), d_last (B, 1, D).
    """
    step, mix, reach = saved
    xp = namespace(dy)
    d_step = xp.einsum("nbtd,nd->btd", dy, mix)
    dx = dy.sum(axis=0)
    dx -= d_step
    d_before = d_step if reach is None else xp.where((reach > 0)[..., None], d_step, 0)
    dx[:, :-1] += d_before[:, 1:]
    dx[:, -1:] += d_new_last
    return dx, xp.einsum("nbtd,btd->nd", dy, step), d_before[:, :1]
