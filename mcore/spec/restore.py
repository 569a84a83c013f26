"""From a snapshot back to the model it holds."""

from collections.abc import Sequence
from pathlib import Path

from mcore.errors import InputError, SnapshotError
from mcore.layers.product import real_of
from mcore.model import Model
from mcore.plain_file import inside, is_folder
from mcore.snapshot import Form, Snapshot, check_fit, read_snapshot
from mcore.spec.compile import backend_of, check_dtype, layout_of
from mcore.spec.load import parse_spec

NAMES = ("best.safetensors", "last.safetensors", "previous.safetensors")
"""Snapshots of a run folder, in the order in which they are tried."""


def restore(path: str | Path, overrides: Sequence[str] = ()) -> Model:
    """The model of a run folder (its best snapshot, else its last) or of a snapshot file.

    Args:
        path: of the folder or the file.
        overrides: changes to its spec, `"path=value"`, that leave the parameters as they are: a
            model that was trained without a cache can be read with
            `"memory.readout=moving_average"` (Behrouz et al. 2026, section 4.3).

    Raises:
        SnapshotError: nothing is there, or nothing that can be read; or the spec with the
            overrides is of a model with other parameters.
        SpecError: an override that is wrong.
    """
    snapshot = _read(Path(path))
    spec = parse_spec(snapshot.spec, str(path), overrides)
    backend = backend_of(spec)
    check_dtype(spec.dtype, backend)
    layout = layout_of(spec, backend, spec.dtype)
    params, fixed = layout.shapes(), layout.ends.fixed()
    real = real_of(spec.dtype)
    declared: dict[str, Form] = {n: (real, shape) for n, shape in params.items()}
    declared |= {name: (array.dtype.name, array.shape) for name, array in fixed.items()}
    try:
        check_fit(declared, snapshot.params)
    except SnapshotError as error:
        if not overrides:
            raise
        remedy = "overrides that keep all parameters would do, e.g. memory.readout=moving_average"
        raise SnapshotError(f"{path}: {error}; {remedy}") from None
    found = {name: snapshot.params[name] for name in params}
    model = Model(spec, layout, found, backend, spec.dtype)
    try:
        model.standardise({name: snapshot.params[name] for name in fixed})
    except InputError as error:
        raise SnapshotError(f"{path}: {error}") from None
    return model


def on_host(path: str | Path) -> list[str]:
    """Overrides with which `restore` gives a model on the host, whatever it was trained on.

    Raises:
        SnapshotError: as `restore`.
    """
    snapshot = _read(Path(path))
    dtype = real_of(parse_spec(snapshot.spec, str(path)).dtype)
    return ["backend=reference", f"dtype={dtype}"]


def _read(path: Path) -> Snapshot:
    if not is_folder(path):
        return read_snapshot(path)
    reasons = []
    for name in NAMES:
        try:
            return read_snapshot(inside(path, path / name))
        except SnapshotError as error:
            reasons.append(str(error))
    raise SnapshotError("; ".join(reasons))
