"""Arrays at the boundary: which library owns them, and whether shapes are the declared ones.

A declaration is a string of axis names, one per dimension, in the letters that are used everywhere:
B batch, T tokens, S segments, H heads, D model width, K key width, V value width, P numbers in one
head's state.
"""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mcore.dlpack import taken_over
from mcore.errors import InputError, ShapeError

Array = NDArray[Any]


def namespace(x: Array) -> ModuleType:
    """The array library that owns `x`: `numpy`, `cupy`, or a module that is like them."""
    if isinstance(x, np.ndarray | np.generic):
        return np
    if hasattr(x, "__array_namespace__"):
        return cast(ModuleType, x.__array_namespace__())
    return sys.modules[type(x).__module__.partition(".")[0]]


def as_array(name: str, x: object, dtype: str, xp: ModuleType) -> Array:
    """`x` as an array of library `xp` and of `dtype`, without a copy where it already is one.

    Anything that speaks DLPack (torch, jax, cupy) is taken over; lists and scalars are converted;
    integers and bfloat16 are widened. What lies on the host is copied to the device of an `xp` that
    has one.

    Raises:
        InputError: text, complex numbers, objects; arrays that cannot be taken over.
    """
    return cast(Array, xp.asarray(converted(name, x, dtype, xp)))


def converted(name: str, x: object, dtype: str, xp: ModuleType) -> Array:
    """As `as_array`, but what lies on the host is left there.

    Raises:
        InputError: as `as_array`.
    """
    array = received(name, x, xp)
    if array.dtype.kind not in "fiub" and array.dtype.name not in _SMALL_FLOATS:
        raise InputError(f"{name}: holds {array.dtype}; real numbers would do")
    library = np if isinstance(array, np.ndarray) else xp
    return cast(Array, library.asarray(array, dtype=dtype))


def received(name: str, x: object, xp: ModuleType) -> Array:
    """`x` as an array of library `xp`, or of NumPy if it lies on the host; of whatever type.

    Raises:
        InputError: it is none, or cannot be taken over; see `mcore.dlpack`.
    """
    if isinstance(x, xp.ndarray | np.ndarray):
        return cast(Array, x)
    if hasattr(x, "__dlpack__"):
        return cast(Array, taken_over(name, x, xp))
    try:
        return np.asarray(x)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: is not an array: {error}") from None


_SMALL_FLOATS = ("bfloat16",)
"""Types of `ml_dtypes`, which NumPy does not count as floating point."""


def check_names(inputs: object, declared: Mapping[str, str]) -> None:
    """Raise InputError unless `inputs` is a mapping with exactly the declared names."""
    wanted = ", ".join(f"{name} ({axes})" for name, axes in declared.items())
    if not isinstance(inputs, Mapping):
        raise InputError(f"inputs: a {type(inputs).__name__}; a dict with {wanted} would do")
    missing = [name for name in declared if name not in inputs]
    extra = [name for name in inputs if name not in declared]
    if missing:
        raise InputError(f"inputs: {', '.join(missing)} missing; this composition needs {wanted}")
    if extra:
        names = ", ".join(map(str, extra))
        raise InputError(f"inputs: {names} not used; this composition needs {wanted}")


def infer_dims(
    inputs: Mapping[str, Array], declared: Mapping[str, str], known: Mapping[str, int]
) -> dict[str, int]:
    """Sizes of all named axes, from arrays and their declarations.

    Args:
        inputs: the arrays, by name.
        declared: their axes, by name, as in `"B T H K"`; products such as `G*V` are checked once
            their factors are known.
        known: sizes that are fixed beforehand.

    Raises:
        ShapeError: an array has another number of dimensions, two arrays disagree on an axis, or
            an axis has no elements; the message shows what was declared and what came.
    """
    dims = dict(known)
    for name, axes in declared.items():
        letters, shape = axes.split(), inputs[name].shape
        if len(letters) != len(shape):
            raise ShapeError(f"{name}: shape {shape}, expected {len(letters)} axes ({axes})")
        for letter, size in zip(letters, shape, strict=True):
            dims.setdefault(letter, size)
    for name, axes in declared.items():
        expected = tuple(_size(letter, dims) for letter in axes.split())
        if inputs[name].shape != expected:
            raise ShapeError(f"{name}: shape {inputs[name].shape}, expected ({axes}) = {expected}")
    for letter, size in dims.items():
        if size == 0:
            raise ShapeError(f"axis {letter} has length 0; at least 1 is needed")
    return dims


def _size(letters: str, dims: Mapping[str, int]) -> int:
    if letters in dims and "*" not in letters:
        return dims[letters]
    size = 1
    for letter in letters.split("*"):
        size *= dims[letter]
    return size
