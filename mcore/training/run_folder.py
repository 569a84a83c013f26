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
from mcore.plain_file import inside, read_plain, reason, there
from mcore.snapshot import (
    Snapshot,
    flush_folder,
    read_snapshot,
    write_snapshot,
    write_whole,
    writing,
)
from mcore.spec.yaml_lines import LARGEST

FILES = (
    "spec.yaml",
    "run.json",
    "metrics.jsonl",
    "last.safetensors",
    "previous.safetensors",
    "best.safetensors",
    "result.json",
    "compare",
)
"""What a run reads, or writes without making it anew."""

_LARGEST_JSON = 1 << 20
_LARGEST_METRICS = 1 << 28


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
        if there(self.metrics):
            with writing(self.metrics), self.metrics.open("rb") as file:
                os.fsync(file.fileno())
        fresh = self.path / "next.safetensors"
        write_snapshot(fresh, snapshot)
        with writing(self.last):
            if there(self.last):
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
        if not there(self.last):
            return (read_snapshot(self.previous) if there(self.previous) else None), None
        try:
            return read_snapshot(self.last), None
        except SnapshotError as error:
            if not there(self.previous):
                raise
            snapshot = read_snapshot(self.previous)
            with writing(self.last):
                self.last.replace(self.path / "damaged.safetensors")
            return snapshot, f"{error}; going on from {self.previous} (step {snapshot.step})"

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics."""
        with writing(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def forget_after(self, step: int, evaluated: int) -> None:
        """Drop the metrics of later steps and of later evaluations than these."""
        if not there(self.metrics):
            return
        limits = {"train": step, "eval": evaluated}
        content = read_plain(self.metrics, _LARGEST_METRICS, SnapshotError)
        lines = content.splitlines(keepends=True)
        write_whole(self.metrics, b"".join(line for line in lines if _within(line, limits)))

    def spec_text(self) -> str:
        """The spec as YAML.

        Raises: SnapshotError when it is not there, or no text.
        """
        if not there(self.spec):
            raise SnapshotError(f"{self.path}: is not the folder of a run: no spec.yaml")
        try:
            return read_plain(self.spec, LARGEST, SnapshotError).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise SnapshotError(f"{self.spec}: is not UTF-8 text") from None

    def check_links(self) -> None:
        """Raise SnapshotError when a file of the run is a link to somewhere else."""
        for name in FILES:
            inside(self.path, self.path / name)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file, whole or not at all."""
        write_whole(self.path / name, json.dumps(content, indent=2).encode() + b"\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The content of a JSON file, or None without it.

        Raises: SnapshotError when it is damaged.
        """
        path = self.path / name
        if not there(path):
            return None
        try:
            content = json.loads(read_plain(path, _LARGEST_JSON, SnapshotError))
        except (ValueError, RecursionError) as error:
            raise SnapshotError(f"{path}: is damaged: {error}") from None
        if not isinstance(content, dict):
            raise SnapshotError(f"{path}: is damaged: it holds no mapping")
        return content


def create(path: Path) -> RunFolder:
    """Make a folder for a new run.

    Raises: SnapshotError when there is something in it already, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            ways = f"go on with it: mcore train --resume {path}, or choose another --out"
            raise SnapshotError(f"{path}: is not empty; {ways}")
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{path}: cannot be made: {reason(error)}") from None
    return RunFolder(path)


def create_numbered(name: str) -> RunFolder:
    """Make the first of runs/NAME-1, runs/NAME-2, ... that is not there yet.

    Raises: SnapshotError when it cannot be made.
    """
    paths = (Path("runs", f"{name}-{number}") for number in itertools.count(1))
    return create(next(path for path in paths if not there(path)))


def _within(line: bytes, limits: Mapping[str, int]) -> bool:
    """Whether a line of the metrics is whole, and of a step up to its kind's limit."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return False
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return False
    return bool(record["step"] <= limits.get(str(record.get("kind")), -1))
