"""From a snapshot back to the model it holds."""

from pathlib import Path

from mcore.errors import SnapshotError
from mcore.model import Model
from mcore.snapshot import Snapshot, copy_into, read_snapshot
from mcore.spec.compile import compile
from mcore.spec.load import parse_spec

NAMES = ("best.safetensors", "last.safetensors", "previous.safetensors")
"""Snapshots of a run folder, in the order in which they are tried."""


def restore(path: str | Path) -> Model:
    """The model of a run folder (its best snapshot, else its last) or of a snapshot file.

    Raises:
        SnapshotError: nothing is there, or nothing that can be read.
    """
    snapshot = _read(Path(path))
    model = compile(parse_spec(snapshot.spec, str(path)))
    copy_into(model.params, snapshot.params)
    return model


def _read(path: Path) -> Snapshot:
    if not path.is_dir():
        return read_snapshot(path)
    reasons = []
    for name in NAMES:
        try:
            return read_snapshot(path / name)
        except SnapshotError as error:
            reasons.append(str(error))
    raise SnapshotError("; ".join(reasons))
