"""Arrays by name, from where weights lie: a safetensors file, one inside a wheel, or a dict."""

import sys
import zipfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.errors import InputError, SnapshotError
from mcore.machine import beyond, memory_bytes
from mcore.plain_file import read_plain

Source = str | Path | Mapping[str, object]
"""A safetensors file, or arrays by name (a torch `state_dict` will do)."""

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""Floating-point types of safetensors, and how their bytes are read."""


def read_arrays(source: Source) -> dict[str, object]:
    """All arrays of a source, by name.

    Raises:
        SnapshotError: the file is missing, cut short, or not a safetensors file.
        InputError: the source is neither a path nor a dict.
    """
    if isinstance(source, Mapping):
        return dict(source)
    if not isinstance(source, str | Path):
        kind = type(source).__name__
        raise InputError(f"source: a {kind}; the path of a safetensors file or a dict would do")
    return dict(parse(str(source), read_bytes(Path(source))))


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises SnapshotError when it cannot be read."""
    try:
        path = path.expanduser()
    except RuntimeError as error:
        raise SnapshotError(f"{path}: cannot be read: {error}") from None
    return read_plain(path, memory_bytes() or sys.maxsize - 1, SnapshotError)


def read_member(path: Path, name: str) -> bytes:
    """One file of a wheel; raises SnapshotError when there is no such wheel or file in it."""
    try:
        with zipfile.ZipFile(BytesIO(read_bytes(path))) as wheel:
            if too_much := beyond(wheel.getinfo(name).file_size):
                raise SnapshotError(f"{path}: {name} unpacks to {too_much}")
            return wheel.read(name)
    except KeyError:
        raise SnapshotError(f"{path}: has no {name} in it") from None
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError):
        raise SnapshotError(f"{path}: is cut short or not a wheel") from None


def parse(where: str, content: bytes) -> dict[str, Array]:
    """The floating-point arrays of a safetensors file's content; `where` is for the error."""
    from safetensors import SafetensorError, deserialize

    try:
        tensors = deserialize(content)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        reason = f"is cut short or not a safetensors file ({error})"
        raise SnapshotError(f"{where}: {reason}") from None
    return {name: _array(where, name, x) for name, x in tensors if x["dtype"] in TYPES}


def _array(where: str, name: str, tensor: Mapping[str, Any]) -> Array:
    """Numbers in NumPy's types; bfloat16 is the upper half of float32."""
    numbers = np.frombuffer(tensor["data"], TYPES[tensor["dtype"]])
    if tensor["dtype"] == "BF16":
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    try:
        return numbers.reshape(tensor["shape"])
    except ValueError:
        raise SnapshotError(f"{where}: {name} has a shape beyond all bounds") from None


def serialise(arrays: Mapping[str, Array]) -> bytes:
    """The content of a safetensors file with these arrays."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(x) for name, x in arrays.items()})
