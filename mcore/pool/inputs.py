"""What streams are fed with, checked before any of them changes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mcore.arrays import Array
from mcore.errors import InputError, ShapeError
from mcore.pool.folder import Id
from mcore.session import rank_of

if TYPE_CHECKING:
    from mcore.model import Model


def checked(model: "Model", feeds: Mapping[Any, object]) -> list[Array]:
    """The feeds as arrays, tokens (T,) or vectors (T, C), in order.

    Raises:
        ShapeError: another number of axes or channels, or T = 0; names the stream.
        InputError: tokens that the model does not know, or infinite numbers; names the stream.
    """
    arrays = [np.asarray(x) for x in feeds.values()]
    _check_shapes(model, list(feeds), arrays)
    if arrays and not _usable(model, np.concatenate(arrays)):
        for name, x in zip(feeds, arrays, strict=True):
            if not _usable(model, x):
                raise InputError(f"stream {name!r}: {_wanted(model)}; nothing was fed")
    return arrays


def _check_shapes(model: "Model", names: Sequence[Id], arrays: Sequence[Array]) -> None:
    channels = model.channels
    wide, rank = () if channels is None else (channels,), rank_of(model)
    for name, x in zip(names, arrays, strict=True):
        if x.ndim != rank or x.shape[1:] != wide or not len(x):
            expected = "(T,)" if channels is None else f"(T, {channels})"
            raise ShapeError(
                f"stream {name!r}: shape {x.shape}, expected {expected} with T at least 1; "
                "nothing was fed"
            )


def _usable(model: "Model", x: Array) -> bool:
    if model.channels is not None:
        return x.dtype.kind in "fiu" and not bool(np.isinf(x).any())
    return x.dtype.kind in "iu" and bool(x.min() >= 0) and bool(x.max() < model.vocab)


def _wanted(model: "Model") -> str:
    if model.channels is not None:
        return "has infinite numbers, or none; real numbers would do, or NaN where one is missing"
    return f"holds what is no token; integers from 0 to {model.vocab - 1} would do"
