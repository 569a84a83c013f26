"""`--set path=value`, several of them, one a line, after a line that picks the spec."""

import random
from itertools import pairwise
from pathlib import Path

from fuzz.mutate import change_lines
from fuzz.targets.small import SPEC
from fuzz.yaml_text import change_yaml

_SETTINGS = (
    "memory.readout.top_k=4",
    "memory.readout=ssc",
    "memory.segmentation={kind: constant, length: 512}",
    "memory.segmentation.kind=adaptive",
    "model.blocks=[memory, attention]",
    "model.blocks.0.window=3",
    "train.optimizer.lr=3e-3",
    "train.warmup=10",
    "data=text",
    "data.paths=[a.txt]",
    "compare.other.memory.readout=none",
    "compare.x={train.steps: 3}",
    "backend.threads=2",
)


class Overrides:
    """What `mcore train --set` takes."""

    name = "overrides"

    def seeds(self) -> list[bytes]:
        """Usual settings, alone and in pairs."""
        alone = [setting.encode() for setting in _SETTINGS]
        return [*alone, *(a + b"\n" + b for a, b in pairwise(alone))]

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """A setting more, a longer path, or another value."""
        choice = rng.random()
        if choice < 0.2:
            return data + b"\n" + rng.choice(_SETTINGS).encode()
        if choice < 0.4:
            path, equals, value = data.partition(b"=")
            times = rng.choice((1, 2, 30, 3000))
            more = b"." + rng.choice((b"kind", b"0", b"", b"a", b"blocks", path[:20]))
            return path + more * times + equals + value
        return change_yaml(data, rng) if choice < 0.8 else change_lines(data, rng)

    def run(self, data: bytes, folder: Path) -> None:
        """A good spec with settings."""
        from mcore.spec import read_spec

        read_spec(SPEC, data.decode("utf-8", "surrogateescape").split("\n"))
