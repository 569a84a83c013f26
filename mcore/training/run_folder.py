"""The folder of a run: what it was asked, where it stands, what came out.

spec.yaml             the resolved spec
run.json              seed, versions, machine, command line, what the data were
metrics.jsonl         one line per log and evaluation
last.safetensors      where to resume; previous.safetensors the one before
best.safetensors      the parameters of the best evaluation
result.json           the closing numbers; there once the run is finished
compare/NAME          the same for each variant
"""

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcore.errors import SnapshotError
from mcore.snapshot import Snapshot, flush_folder, read_snapshot, write_snapshot, write_whole


class RunFolder:
    """Reads and writes the files of a run; every file is whole at every moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = path / "spec.yaml"
        self.metrics = path / "metrics.jsonl"
        self.last = path / "last.safetensors"
        self.previous = path / "previous.safetensors"
        self.best = path / "best.safetensors"

    def save(self, snapshot: Snapshot) -> None:
        """Make a snapshot the last one and the last one the previous.

        The order leaves a good snapshot at every moment: the old ones stay until the new one is
        on the disk, and the only gap, between two renames, has a good `previous`.
        """
        if self.metrics.exists():
            with self.metrics.open("rb") as file:
                os.fsync(file.fileno())
        fresh = self.path / "next.safetensors"
        write_snapshot(fresh, snapshot)
        if self.last.exists():
            self.last.replace(self.previous)
        fresh.replace(self.last)
        flush_folder(self.path)

    def save_best(self, snapshot: Snapshot) -> None:
        """Keep these parameters as the best so far."""
        write_snapshot(self.best, snapshot)

    def load(self) -> tuple[Snapshot | None, str | None]:
        """The last good snapshot (none before the first), and a warning if it is not `last`.

        A damaged `last` is set aside, so that the next save does not make it `previous`.

        Raises: SnapshotError when there are snapshots and none is good.
        """
        if not self.last.exists():
            return (read_snapshot(self.previous) if self.previous.exists() else None), None
        try:
            return read_snapshot(self.last), None
        except SnapshotError as error:
            if not self.previous.exists():
                raise
            snapshot = read_snapshot(self.previous)
            self.last.replace(self.path / "damaged.safetensors")
            return snapshot, f"{error}; going on from {self.previous} (step {snapshot.step})"

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def forget_after(self, step: int, evaluated: int) -> None:
        """Drop the metrics of later steps and of later evaluations than these."""
        if not self.metrics.exists():
            return
        limits = {"train": step, "eval": evaluated}
        lines = self.metrics.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if (r := _record(line)) and r["step"] <= limits[r["kind"]]]
        write_whole(self.metrics, b"".join(kept))

    def spec_text(self) -> str:
        """The spec as YAML.

        Raises: SnapshotError when it is not there.
        """
        try:
            return self.spec.read_text(encoding="utf-8")
        except OSError:
            raise SnapshotError(f"{self.path}: is not the folder of a run: no spec.yaml") from None

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        write_whole(self.path / name, json.dumps(content, indent=2).encode() + b"\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The content of a JSON file, or None without it.

        Raises: SnapshotError when it is damaged.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise SnapshotError(f"{path}: is damaged: {error}") from None
        return dict(content)


def create(path: Path) -> RunFolder:
    """Make a folder for a new run.

    Raises: SnapshotError when there is something in it already, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            ways = f"go on with it: mcore train --resume {path}, or choose another --out"
            raise SnapshotError(f"{path}: is not empty; {ways}")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SnapshotError(f"{path}: cannot be made: {reason}") from None
    return RunFolder(path)


def create_numbered(name: str) -> RunFolder:
    """Make the first of runs/NAME-1, runs/NAME-2, ... that is not there yet.

    Raises: SnapshotError when it cannot be made.
    """
    paths = (Path("runs", f"{name}-{number}") for number in itertools.count(1))
    return create(next(path for path in paths if not path.exists()))


def _record(line: bytes) -> dict[str, Any]:
    """A line of the metrics; nothing for one that was cut short."""
    try:
        return dict(json.loads(line)) if line.endswith(b"\n") else {}
    except ValueError:
        return {}
