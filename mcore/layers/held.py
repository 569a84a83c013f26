"""The input of a state space model, held for the length of its step."""

from typing import NamedTuple

from mcore.arrays import Array, namespace


class Saved(NamedTuple):
    """What `held` keeps."""

    x: Array
    step: Array
    inverse: Array


def held(x: Array, log_decay: Array, a_log: Array) -> tuple[Array, Saved]:
    """What a token writes: its value times the step size that its decay is made of.

        v = step x,        step = log_decay / -exp(a_log)

    Shapes: x (B, T, H, V), log_decay (B, T, H), a_log (H,) -> v (B, T, H, V).
    Source: Mamba-2 (Dao and Gu 2024), where log_decay = step A with A = -exp(a_log).
    """
    inverse = -namespace(x).exp(-a_log)
    step = log_decay * inverse
    return x * step[..., None], Saved(x, step, inverse)


def held_backward(saved: Saved, dy: Array) -> tuple[Array, Array, Array]:
    """Gradients of `held`.

        dx = step dy        dstep = <dy, x>
        dlog_decay = dstep / -exp(a_log)        da_log = -sum of dstep step

    Shapes: dy (B, T, H, V) -> dx (B, T, H, V), dlog_decay (B, T, H), da_log (H,).
    """
    d_step = namespace(dy).einsum("bthv,bthv->bth", dy, saved.x)
    da_log = -(d_step * saved.step).sum((0, 1))
    return dy * saved.step[..., None], d_step * saved.inverse, da_log
