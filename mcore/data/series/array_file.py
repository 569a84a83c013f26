"""NPY and NPZ: arrays of series."""

import zipfile
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcore.data.series.record import Series, Wanted
from mcore.errors import DataError
from mcore.machine import beyond
from mcore.plain_file import open_plain

X = "x"
"""The array of an .npz that holds the series."""


def read_array(path: Path, wanted: Wanted) -> list[Series]:
    """The series of an array: (T,) and (T, C) are one, (N, T, C) are N; NaN is a missing value.

    An .npz holds them as `x`, and labels (N,) under the name that is wanted.

    Raises: DataError when the file is damaged, needs pickle, lacks an array, or has another
        shape, another number of channels than names are given, text, or infinity.
    """
    if wanted.group is not None:
        raise DataError(f"{path}: data.group is for tables; an array (N, T, C) holds N series")
    arrays = _arrays(path, wanted)
    x = _series_array(path, arrays[X], len(wanted.columns))
    labels: list[str | None] = [None] * len(x)
    if wanted.label is not None:
        found = arrays[wanted.label]
        if found.shape != (len(x),):
            what = f"{wanted.label!r} has shape {found.shape}, and there are {len(x)} series"
            raise DataError(f"{path}: {what}; one label for each would do")
        labels = [str(label) for label in found.tolist()]
    names = [str(path)] if len(x) == 1 else [f"{path} (series {i})" for i in range(len(x))]
    return [Series(*each) for each in zip(names, x, labels, strict=True)]


def _arrays(path: Path, wanted: Wanted) -> dict[str, NDArray[Any]]:
    names = [X, *wanted.texts]
    with open_plain(path, DataError) as file:
        try:
            _check_size(file)
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                loaded = {X: loaded}
            gone = next((name for name in names if name not in loaded), None)
            if gone is None:
                return {name: loaded[name] for name in names}
        except Exception as error:
            # What NumPy, zipfile and zlib raise of damaged files is no closed set.
            reason = (str(error) or type(error).__name__).splitlines()[0]
            message = f"{path}: cannot be read as an array of numbers: {reason}"
            raise DataError(message) from None
    if path.suffix == ".npy":
        raise DataError(f"{path}: has no labels; save an .npz with arrays {X!r} and {gone!r}")
    raise DataError(f"{path}: has no array {gone!r}; it has {', '.join(loaded)}")


def _check_size(file: BufferedReader) -> None:
    """Raise ValueError for an archive that unpacks to more than the machine has memory for."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if too_much := beyond(size):
            raise ValueError(f"it unpacks to {too_much}")
    file.seek(0)


def _series_array(path: Path, x: NDArray[Any], channels: int) -> NDArray[Any]:
    """(N, T, C) in float64."""
    if x.dtype.kind not in "fiub":
        raise DataError(f"{path}: holds {x.dtype}; numbers would do")
    if x.ndim not in (1, 2, 3) or not x.size:
        raise DataError(f"{path}: shape {x.shape}; (T, C), or (N, T, C), would do")
    x = x.reshape(-1, 1) if x.ndim == 1 else x
    x = x[None] if x.ndim == 2 else x
    if x.shape[2] != channels:
        what = f"{x.shape[2]} channels, and data.columns names {channels}"
        raise DataError(f"{path}: has {what}; name each of them, in order")
    x = x.astype(np.float64)
    if np.isinf(x).any():
        row, token, channel = np.argwhere(np.isinf(x))[0]
        where = f"series {row}, token {token}, channel {channel}"
        raise DataError(f"{path}: {x[row, token, channel]} at {where}; NaN marks a missing value")
    return x
