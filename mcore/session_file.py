"""The file of one stream: what it carries, as a snapshot that names the model it belongs to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcore.errors import SnapshotError
from mcore.model.part import State
from mcore.session_check import check_stream
from mcore.snapshot import Snapshot, read_snapshot, write_snapshot

if TYPE_CHECKING:
    from mcore.model import Model

SESSION = "session"
"""The entry of a fingerprint that tells streams from models."""


def write_stream(
    path: str | Path, model: "Model", state: State, note: Mapping[str, Any] | None = None
) -> None:
    """Write a stream's state (not the model) as one file, whole or not at all.

    `note` is anything JSON can hold that belongs to it, e.g. how far its input was read.

    Raises:
        SnapshotError: the disk does not take it.
    """
    write_snapshot(Path(path), Snapshot(fingerprint(model), state, state=note or {}))


def read_stream(path: str | Path, model: "Model") -> tuple[State, dict[str, Any]]:
    """The state and the note of a stream through such a model.

    Raises:
        SnapshotError: the file is missing, damaged, of a newer mcore, no stream, or of a stream
            through another kind of model; says which.
    """
    snapshot = read_snapshot(Path(path))
    if snapshot.spec != fingerprint(model):
        raise SnapshotError(f"{path}: {_foreign(snapshot.spec, fingerprint(model))}")
    if snapshot.params:
        check_stream(path, model, snapshot.params)
    return dict(snapshot.params), dict(snapshot.state)


def fingerprint(model: "Model") -> str:
    """What a stream depends on: shapes of the parameters, their dtype, the network, the memory."""
    shapes = {name: list(x.shape) for name, x in model.params.items()}
    dtypes = sorted({x.dtype.name for x in model.params.values()})
    spec = model.spec.model_dump(mode="json", include={"model", "memory"})
    return json.dumps({SESSION: shapes, "dtype": dtypes, **spec}, sort_keys=True)


def _foreign(found: str, wanted: str) -> str:
    """What is wrong with a fingerprint, and what would do."""
    try:
        theirs = json.loads(found)
    except ValueError:
        theirs = None
    if not isinstance(theirs, dict) or SESSION not in theirs:
        return "is a snapshot of a model, not a stream; a file that Session.save wrote would do"
    ours = json.loads(wanted)
    names = {SESSION: "parameters"}
    other = ", ".join(names.get(n, n) for n in sorted(ours) if ours[n] != theirs.get(n))
    return (
        f"is not a stream through this model (other {other}); restore it in a session of the "
        "model that it was saved from"
    )
