"""The global norm of all gradients, and what keeps it below a limit."""

from collections.abc import Mapping
from functools import reduce
from operator import add

import numpy as np

from mcore.arrays import Array, namespace

# Short enough that no BLAS splits it among threads: the norm is the same at any number of them.
_BLOCK = 8192


def global_norm(grads: Mapping[str, Array]) -> float | Array:
    """Euclidean norm of all gradients taken as one vector, summed in float64.

    Not finite when an entry is not finite, or (float64 gradients only) when it overflows. Of
    gradients on a device it stays there, as an array of one number.
    """
    there = {namespace(grad) for grad in grads.values()} - {np}
    if there:
        squares = [xp.square(g.astype("float64")).sum() for xp in there for g in grads.values()]
        norm: Array = there.pop().sqrt(reduce(add, squares))
        return norm
    wide = np.empty(_BLOCK)
    total = 0.0
    for grad in grads.values():
        flat = grad.reshape(-1)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK]
            part = wide[: block.size]
            part[...] = block
            total += float(part @ part)
    return float(np.sqrt(total))


def clip_scale(norm: float, limit: float | None) -> float:
    """The factor that brings a gradient of this norm down to `limit`; 1 without a limit."""
    return limit / norm if limit and norm > limit else 1.0
