"""Checkpoints as they read after having been stored in a cache's dtype: `mcore.cache.compact`."""

from mcore.cache.compact import LARGEST_HALF, LEVELS
from mcore.cache.policy import CacheDtype
from mcore.export import ops
from mcore.export.builder import Tensor


def rounded(x: Tensor, dtype: CacheDtype | None) -> Tensor:
    """float32 numbers that the dtype holds. A graph keeps them as float32."""
    if dtype is None or dtype == "float32":
        return x
    if dtype == "int8":
        return _integers(x)
    if dtype == "float16":
        x = ops.maximum(ops.minimum(x, LARGEST_HALF), -LARGEST_HALF)
    return ops.cast(ops.cast(x, dtype), "float32")


def _integers(x: Tensor) -> Tensor:
    """Codes from -127 to 127 with a scale per row of a state."""
    scale = ops.largest_kept(ops.absolute(x), -1) / float(LEVELS)
    divisor = ops.where(ops.greater(scale, 0.0), scale, 1.0)
    codes = ops.maximum(ops.minimum(ops.rint(x / divisor), float(LEVELS)), -float(LEVELS))
    return codes * scale
