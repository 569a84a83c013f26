"""The projection's columns z = x W, where some inputs see a mix of a token and the one before."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcore.arrays import Array, namespace
from mcore.layers.linear import linear, linear_backward
from mcore.layers.product import in_dtype
from mcore.layers.shift import token_shift, token_shift_backward
from mcore.model.part import Params
from mcore.model.slot import Slot

WEIGHT, MIX = "project.weight", "mix.weight"


def shifted(slots: Sequence[Slot]) -> list[str]:
    """Names of the inputs that see a mix, in the order of the rows of `mix.weight`."""
    return [slot.name for slot in slots if getattr(slot.law, "shift", False)]


def init_mix(count: int, width: int, dtype: str) -> Array:
    """Shares (count, width) of the token before: all of it in the first channel, none in the last.

    RWKV-7's streams differ in the curve of the ramp; here it is straight for all.
    """
    return np.tile(np.linspace(1.0, 0.0, width), (count, 1)).astype(dtype)


def columns(
    x: Array, params: Params, slots: Sequence[Slot], last: Array | None, reach: Array | None
) -> tuple[tuple[Array, Array | None], Any]:
    """z (B, T, all columns) and the last token, where a later call needs it.

    Both have the dtype of the parameters, to which x may be rounded further.

    Args:
        last: (B, 1, D) the token before x; None at the start of the sequences.
        reach: (B, T) tokens of its document before each token; None if rows are whole.
    """
    weight, names = params[WEIGHT], shifted(slots)
    dtype = weight.dtype.name
    if not names:
        z, saved = linear(x, weight, dtype)
        return (z, None), saved
    xp, wide = namespace(x), in_dtype(x, dtype)
    if last is None:
        last = xp.zeros((x.shape[0], 1, x.shape[2]), dtype)
    (mixed, new_last), shift_saved = token_shift(wide, params[MIX], last, reach)
    mixed = in_dtype(mixed, x.dtype.name)
    sources = [mixed[names.index(s.name)] if s.name in names else x for s in slots]
    z = xp.empty((*x.shape[:2], weight.shape[1]), dtype)
    kept = []
    for slot, source in zip(slots, sources, strict=True):
        z[..., slot.columns], saved = linear(source, weight[:, slot.columns], dtype)
        kept.append(saved)
    return (z, new_last), (kept, shift_saved)


def columns_backward(saved: Any, dz: Array, slots: Sequence[Slot]) -> tuple[Array, Params]:
    """Gradients of `columns`: with respect to x and the parameters."""
    names = shifted(slots)
    if not names:
        dx, d_weight = linear_backward(saved, dz)
        return dx, {WEIGHT: d_weight}
    kept, shift_saved = saved
    xp = namespace(dz)
    shape = kept[0][0].shape
    dx, d_mixed = xp.zeros(shape, dz.dtype), xp.zeros((len(names), *shape), dz.dtype)
    d_weight = xp.empty((shape[-1], dz.shape[-1]), dz.dtype)
    for slot, each in zip(slots, kept, strict=True):
        d_source, d_weight[:, slot.columns] = linear_backward(each, dz[..., slot.columns])
        target = d_mixed[names.index(slot.name)] if slot.name in names else dx
        target += in_dtype(d_source, dz.dtype.name)
    d_unmixed, d_mix, _ = token_shift_backward(shift_saved, d_mixed, xp.zeros_like(dx[:, :1]))
    dx = in_dtype(dx + d_unmixed, kept[0][0].dtype.name)
    return dx, {WEIGHT: d_weight, MIX: d_mix}
