"""Snapshots: a model on disk, with or without what is needed to go on training it.

A snapshot is one safetensors file. Parameters keep their dotted names, arrays of the optimizer
are called `optimizer/<name>`. The header's metadata hold the spec as YAML and the state of the
run as JSON, and a digest of all of it: a file that reads back is the file that was written.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcore.errors import SnapshotError

Arrays = dict[str, NDArray[Any]]

FORMAT = "mcore"
VERSION = 1
_OPTIMIZER = "optimizer/"


@dataclass(frozen=True)
class Snapshot:
    """What is kept of a model: its spec (YAML), its parameters, and where its training stood.

    `optimizer` and `state` are empty when only the model is kept. `state` is anything JSON can
    hold, with floats kept to the last bit.
    """

    spec: str
    params: Mapping[str, NDArray[Any]]
    step: int = 0
    optimizer: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`training` when training can go on from here, `model` when there are only parameters."""
        return "training" if self.optimizer else "model"


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write the file whole or not at all: whoever reads `path` sees the old file or the new one.

    Raises: SnapshotError when the disk does not take it.
    """
    from safetensors.numpy import save

    arrays = dict(snapshot.params)
    arrays |= {_OPTIMIZER + name: array for name, array in snapshot.optimizer.items()}
    metadata = _metadata(snapshot)
    metadata["digest"] = _digest(arrays, metadata)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_whole(path, save(contiguous, metadata))


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot back, bit for bit.

    Raises: SnapshotError when the file is missing, cut short, damaged, or not one of ours.
    """
    arrays, metadata = _read(path)
    if not _ours(metadata):
        raise SnapshotError(f"{path}: is a safetensors file, but not an mcore snapshot")
    if int(metadata["version"]) > VERSION:
        raise SnapshotError(f"{path}: was written by a newer mcore; update this one to read it")
    if metadata.pop("digest", None) != _digest(arrays, metadata):
        raise SnapshotError(f"{path}: is damaged: its content does not match its digest")
    params = {name: a for name, a in arrays.items() if not name.startswith(_OPTIMIZER)}
    optimizer = {n.removeprefix(_OPTIMIZER): a for n, a in arrays.items() if n not in params}
    state = json.loads(metadata["state"])
    return Snapshot(metadata["spec"], params, int(metadata["step"]), optimizer, state)


def copy_into(params: Mapping[str, NDArray[Any]], saved: Mapping[str, NDArray[Any]]) -> None:
    """Overwrite the arrays of `params` with the saved ones of the same names.

    Raises: SnapshotError when names, shapes or dtypes differ; nothing is written then.
    """
    for name in [*params, *saved]:
        there, ours = _describe(saved.get(name)), _describe(params.get(name))
        if there != ours:
            message = f"{name} is {there} in the snapshot, {ours} in the model"
            raise SnapshotError(f"the snapshot is of another model: {message}")
    for name, array in params.items():
        array[...] = saved[name]


def write_whole(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, flush it to the disk, and rename it to `path`.

    Raises: SnapshotError when the disk does not take it.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SnapshotError(f"{path}: cannot be written: {reason}") from None


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk (Windows has no way to ask)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[Arrays, dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except FileNotFoundError:
        raise SnapshotError(f"{path}: no such file") from None
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error}") from None
    except (SafetensorError, ValueError) as error:
        raise SnapshotError(f"{path}: is cut short or not a snapshot ({error})") from None


def _ours(metadata: Mapping[str, str]) -> bool:
    return metadata.get("format") == FORMAT and metadata.get("version", "").isdecimal()


def _metadata(snapshot: Snapshot) -> dict[str, str]:
    return {
        "format": FORMAT,
        "version": str(VERSION),
        "kind": snapshot.kind,
        "step": str(snapshot.step),
        "spec": snapshot.spec,
        "state": json.dumps(dict(snapshot.state)),
    }


def _digest(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """SHA-256 of the metadata and of every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {_describe(array)}".encode())
        digest.update(np.asarray(array, order="C").data)
    return digest.hexdigest()


def _describe(array: NDArray[Any] | None) -> str:
    return "missing" if array is None else f"{array.dtype.name} {list(array.shape)}"
