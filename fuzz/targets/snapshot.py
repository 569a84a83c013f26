"""A snapshot, read back as a model."""

import random
import tempfile
from pathlib import Path
from typing import Any

import mcore
from fuzz.signed import change_signed
from fuzz.targets.small import SPEC

_TEXT = {"task": "text", "paths": ["/nowhere/a.txt"], "length": 8}
_SPECS: tuple[dict[str, Any], ...] = (
    SPEC,
    {**SPEC, "memory": {"recurrence": "lstm"}, "dtype": "float64"},
    {**SPEC, "model": {**SPEC["model"], "mixer": "attention"}, "data": _TEXT},
)


class ModelSnapshot:
    """`mcore.load`."""

    name = "snapshot"

    def seeds(self) -> list[bytes]:
        """Snapshots of small models, with and without an optimizer's arrays."""
        return [_saved(spec) for spec in _SPECS]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Another file that is signed."""
        return change_signed(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Load, and look at what was loaded."""
        from mcore.snapshot import read_snapshot
        from mcore.spec import restore

        path = folder / "a.safetensors"
        path.write_bytes(data)
        str(read_snapshot(path).state)
        restore.restore(path).state_bytes(4)


def _saved(spec: dict[str, Any]) -> bytes:
    from mcore.spec import read_spec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        mcore.compile(read_spec(spec)).save(path)
        return path.read_bytes()
