"""The saved state of a stream, restored and fed."""

import random
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import mcore
from fuzz.signed import change_signed
from fuzz.targets.small import SPEC

_TOKENS = np.arange(7) % 5
_MEMORIES: tuple[dict[str, Any], ...] = (
    SPEC["memory"],
    {
        "recurrence": "mlstm",
        "segmentation": {"kind": "adaptive", "min": 2, "max": 4},
        "readout": "grm",
        "cache": {"limit": 2, "evict": "merge", "dtype": "int8"},
    },
    {
        "recurrence": {"kind": "titans", "chunk": 2},
        "segmentation": {"kind": "constant", "length": 3},
        "readout": {"kind": "ssc", "top_k": 1},
        "start": "checkpoint",
        "cache": {"limit": 3, "dtype": "bfloat16"},
    },
)


class SessionState:
    """`Session.restore` and `feed`, on each of the models that the seeds are of.

    Run by the compiled kernels too, which do not look where they write.
    """

    def __init__(self, name: str, backend: str) -> None:
        self.name, self.backend = name, backend

    @cached_property
    def _models(self) -> list[mcore.Model]:
        blocks = {"depth": 2, "blocks": ["memory", "attention"]}
        model = {**SPEC["model"], **blocks, "key": 4, "window": 4}
        same = {**SPEC, "model": model, "backend": self.backend}
        specs = [{**same, "memory": memory} for memory in _MEMORIES]
        return [mcore.compile(spec, threads=1) for spec in specs]

    def seeds(self) -> list[bytes]:
        """Streams of some tokens."""
        return [_saved(model, count) for model in self._models for count in (1, 7)]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """Another file that is signed."""
        return change_signed(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """Restore in the model that it is of, else in the first, and go on."""
        from mcore.errors import McoreError

        path = folder / "a.safetensors"
        path.write_bytes(data)
        refusal: McoreError | None = None
        for model in self._models:
            session = model.session()
            try:
                session.restore(path)
            except McoreError as error:
                refusal = error
                continue
            with np.errstate(all="ignore"):
                for count in (1, 3):
                    session.feed(_TOKENS[:count])
            session.save(folder / "b.safetensors")
            return
        assert refusal is not None
        raise refusal


def _saved(model: mcore.Model, count: int) -> bytes:
    session = model.session()
    session.feed(_TOKENS[:count])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a")
        session.save(path)
        return path.read_bytes()
