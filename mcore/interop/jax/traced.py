"""Checks of what is known before numbers are: names, shapes, dtypes."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mcore.arrays import check_names, infer_dims
from mcore.errors import InputError, ShapeError
from mcore.interop.jax.callback import Traced


def check_dtype(dtype: str) -> None:
    """Raise InputError if JAX has no such numbers as it is set up."""
    if jax.dtypes.canonicalize_dtype(dtype) != np.dtype(dtype):
        raise InputError(
            f'dtype: {dtype} needs jax.config.update("jax_enable_x64", True); '
            'or dtype="float32" would do'
        )


def as_traced(name: str, x: object, dtype: str) -> Traced:
    """`x` as an array of JAX in `dtype`, differentiably.

    Raises:
        InputError: it holds no real numbers.
    """
    try:
        array = jnp.asarray(x)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: is not an array: {error}") from None
    if jnp.issubdtype(array.dtype, jnp.complexfloating) or not (
        jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool
    ):
        raise InputError(f"{name}: holds {array.dtype}; real numbers would do")
    return array.astype(dtype)


def as_integers(name: str, x: object) -> Traced:
    """`x` (B, T) as int32.

    Raises:
        InputError: other numbers.
        ShapeError: another number of axes.
    """
    array = jnp.asarray(x)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise InputError(f"{name}: {array.dtype}, expected integers")
    if array.ndim != 2:
        raise ShapeError(f"{name}: shape {array.shape}, expected (B, T)")
    return array.astype(jnp.int32)


def as_inputs(
    inputs: Mapping[str, object], declared: Mapping[str, str], fixed: Mapping[str, int], dtype: str
) -> dict[str, Traced]:
    """A memory's inputs, with names and shapes as declared; raises as `Memory.forward` does."""
    check_names(inputs, declared)
    arrays = {name: as_traced(name, inputs[name], dtype) for name in declared}
    infer_dims(arrays, declared, fixed)
    return arrays
