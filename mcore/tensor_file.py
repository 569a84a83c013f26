"""Safetensors files, read with nothing taken on trust.

Eight bytes give the length of a JSON header; it names each array's dtype, shape and place; the
arrays follow without gaps. Nothing is mapped into memory, so that a file which shrinks meanwhile is
an error and no crash, and nothing is allocated that the file does not hold.

Source: the format of https://github.com/huggingface/safetensors.
"""

import json
import os
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcore.errors import SnapshotError
from mcore.machine import beyond
from mcore.plain_file import open_plain

Arrays = dict[str, NDArray[Any]]

LARGEST_HEADER = 1 << 24
_MOST_AXES = 32
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "?",
}


class _Wrong(Exception):
    """The file is not what the format says."""


class _Place(NamedTuple):
    """Where an array lies in the file, and what it is."""

    begin: int
    end: int
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def read_tensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """All arrays and the metadata of a file.

    Raises: SnapshotError when it is missing, cut short, no such file, or larger than memory.
    """
    with open_plain(path, SnapshotError) as file:
        try:
            return _read(file)
        except _Wrong as error:
            message = f"{path}: is cut short or not a snapshot ({error})"
            raise SnapshotError(message) from None
        except OSError as error:
            raise SnapshotError(f"{path}: cannot be read: {error}") from None


def _read(file: BufferedReader) -> tuple[Arrays, dict[str, str]]:
    size = os.fstat(file.fileno()).st_size
    header, begin = _header(file, size)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        raise _Wrong("its metadata are not a mapping of text")
    places = sorted(_place(name, entry) for name, entry in header.items())
    _check_places(places, size - begin)
    if too_much := beyond(size):
        raise _Wrong(f"it holds {too_much}")
    return {place.name: _array(file, place) for place in places}, metadata


def _header(file: BufferedReader, size: int) -> tuple[dict[str, Any], int]:
    """The header, and where the arrays begin."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, LARGEST_HEADER):
        raise _Wrong(f"a header of {length} bytes does not fit")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _Wrong("its header is not JSON") from None
    if not isinstance(header, dict):
        raise _Wrong("its header is not a mapping")
    return header, 8 + length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping whose names are all different, and text that can be written down."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    "".join(found).encode()
    return found


def _place(name: str, entry: Any) -> _Place:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _Wrong(f"{name} has no dtype, shape and data_offsets")
    shape, ends = _counts(name, entry["shape"]), _counts(name, entry["data_offsets"])
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _DTYPES:
        raise _Wrong(f"{name} holds {entry['dtype']!r:.20}; {', '.join(_DTYPES)} can be read")
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    if len(ends) != 2 or len(shape) > _MOST_AXES:
        raise _Wrong(f"{name} has {len(shape)} axes and {len(ends)} ends")
    if ends[1] - ends[0] != prod(shape) * dtype.itemsize:
        raise _Wrong(f"{name} is of another size than its shape")
    return _Place(ends[0], ends[1], name, dtype, shape)


def _counts(name: str, numbers: Any) -> tuple[int, ...]:
    if isinstance(numbers, list) and all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        return tuple(numbers)
    raise _Wrong(f"{name} has a shape or ends that are not whole numbers")


def _check_places(places: list[_Place], size: int) -> None:
    ends = [0, *(place.end for place in places)]
    if any(place.begin != end for place, end in zip(places, ends, strict=False)):
        raise _Wrong("its arrays overlap or leave gaps")
    if ends[-1] != size:
        raise _Wrong(f"its arrays take {ends[-1]} bytes, and {size} are there")


def _array(file: BufferedReader, place: _Place) -> NDArray[Any]:
    count = prod(place.shape)
    array: NDArray[Any] = np.empty(count, place.dtype)
    if file.readinto(array.view(np.uint8).data) != array.nbytes:
        raise _Wrong("it became shorter while it was read")
    try:
        return array.reshape(place.shape)
    except ValueError:
        raise _Wrong(f"{place.name} has a shape beyond all bounds") from None
