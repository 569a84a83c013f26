"""Snapshots: a model on disk, with or without what is needed to go on training it.

A snapshot is one safetensors file. Parameters keep their dotted names, arrays of the optimizer
are called `optimizer/<name>`. The header's metadata hold the spec as YAML and the state of the
run as JSON, and a digest of all of it: a file that reads back is the file that was written.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcore.errors import SnapshotError
from mcore.placing import sent, to_host
from mcore.plain_file import reason
from mcore.tensor_file import read_tensors

Form = tuple[str, tuple[int, ...]]
"""Dtype and shape of an array."""

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

    arrays = {name: to_host(array) for name, array in snapshot.params.items()}
    arrays |= {_OPTIMIZER + name: to_host(array) for name, array in snapshot.optimizer.items()}
    metadata = _metadata(snapshot)
    metadata["digest"] = _digest(arrays, metadata)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_whole(path, save(contiguous, metadata))


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot back, bit for bit.

    Raises: SnapshotError when the file is missing, cut short, damaged, or not one of ours.
    """
    arrays, metadata = read_tensors(path)
    if not _ours(metadata):
        raise SnapshotError(f"{path}: is a safetensors file, but not an mcore snapshot")
    if int(metadata["version"]) > VERSION:
        raise SnapshotError(f"{path}: was written by a newer mcore; update this one to read it")
    if metadata.pop("digest", None) != _digest(arrays, metadata):
        raise SnapshotError(f"{path}: is damaged: its content does not match its digest")
    params = {name: a for name, a in arrays.items() if not name.startswith(_OPTIMIZER)}
    optimizer = {n.removeprefix(_OPTIMIZER): a for n, a in arrays.items() if n not in params}
    try:
        step, state = _whole(metadata["step"]), dict(json.loads(metadata["state"]))
        return Snapshot(metadata["spec"], params, step, optimizer, state)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise SnapshotError(f"{path}: is damaged: its spec, step or state is missing") from None


def copy_into(params: Mapping[str, NDArray[Any]], saved: Mapping[str, NDArray[Any]]) -> None:
    """Overwrite the arrays of `params` with the saved ones of the same names.

    Raises: SnapshotError when names, shapes or dtypes differ; nothing is written then.
    """
    check_fit({name: (array.dtype.name, array.shape) for name, array in params.items()}, saved)
    for name, array in params.items():
        array[...] = sent(array, saved[name])


def check_fit(declared: Mapping[str, Form], saved: Mapping[str, NDArray[Any]]) -> None:
    """Raise SnapshotError unless the saved arrays have the declared names, dtypes and shapes."""
    found = {name: (array.dtype.name, array.shape) for name, array in saved.items()}
    for name in [*declared, *saved]:
        there, ours = found.get(name), declared.get(name)
        if there != ours:
            message = f"{name} is {_told(there)} in the snapshot, {_told(ours)} in the model"
            raise SnapshotError(f"the snapshot is of another model: {message}")


def write_whole(path: Path, content: bytes) -> None:
    """Write a temporary file beside `path`, flush it to the disk, and rename it to `path`.

    What an interrupted write left is removed first: it is never written through, as it may be a
    link to somewhere else.

    Raises: SnapshotError when the disk does not take it.
    """
    with writing(path):
        temporary = path.with_name(f".{path.name}.new")
        temporary.unlink(missing_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says in the block into a SnapshotError that names `path`."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path}: cannot be written: {reason(error)}") from None


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk (Windows has no way to ask)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ours(metadata: Mapping[str, str]) -> bool:
    version = metadata.get("version", "")
    return metadata.get("format") == FORMAT and version.isdecimal() and len(version) < 10


def _whole(text: str) -> int:
    """A count in decimal digits.

    Raises: ValueError when it is none, or absurd.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError(text)
    return int(text)


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
        digest.update(f"{name} {_told((array.dtype.name, array.shape))}".encode())
        digest.update(np.asarray(array, order="C").data)
    return digest.hexdigest()


def _told(form: Form | None) -> str:
    return "missing" if form is None else f"{form[0]} {list(form[1])}"
