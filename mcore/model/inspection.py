"""What the memories of a model did with some tokens: where they cut, and what they looked at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcore.arrays import Array
from mcore.course import MemorySaved
from mcore.model.memory_mixer import MemoryMixer
from mcore.model.network import Model
from mcore.model.parallel import Parallel
from mcore.model.part import Part
from mcore.placing import to_host


@dataclass(frozen=True)
class MemoryView:
    """One memory layer, and what it did.

    Attributes:
        name: of the layer, e.g. `blocks.0.mixer`.
        what: its composition in words.
        lengths: for each row, the tokens in each of its segments.
        online: mean gate of the online memory; None if the readout does not route.
        cached: mean gates of the checkpoints, the newest first; empty if it does not.
    """

    name: str
    what: str
    lengths: list[list[int]]
    online: float | None
    cached: list[float]


def inspect(model: Model, tokens: Array) -> list[MemoryView]:
    """Run tokens (B, T) and look at every memory layer.

    Raises:
        ShapeError, InputError: as `Model.forward`.
    """
    _, (saved, _) = model.forward(tokens)
    return [
        _view(name, mixer, kept)
        for (name, part), (_, part_saved) in zip(model.layout.parts.items(), saved[1], strict=True)
        for name, mixer, kept in _memories(name, part.part, part_saved)
    ]


def _memories(name: str, part: Part, saved: Any) -> Iterator[tuple[str, MemoryMixer, MemorySaved]]:
    if isinstance(part, MemoryMixer):
        yield name, part, saved[1]
    if isinstance(part, Parallel):
        for inner, each in part.parts.items():
            yield from _memories(f"{name}.{inner}", each, saved[0][inner])


def _view(name: str, mixer: MemoryMixer, saved: MemorySaved) -> MemoryView:
    online, cached = _gates(saved)
    return MemoryView(name, mixer.memory.origin, saved.lengths, online, cached)


def _gates(saved: MemorySaved) -> tuple[float | None, list[float]]:
    """Mean gates over rows, heads and the tokens that see so many checkpoints."""
    online: list[Array] = []
    sums, counts = np.zeros(0), np.zeros(0)
    for passed in saved.passes:
        gates, segments = passed.saved.gates, passed.saved.setting.segments
        if gates is None:
            return None, []
        gates = to_host(gates)
        online.append(gates[..., -1])
        rows = np.arange(segments.rows)[:, None]
        last = segments.last[rows, segments.index]
        for column in range(segments.columns):
            seen = segments.visible[..., column]
            age = (last - 1 - column)[seen]
            size = max(len(sums), int(age.max(initial=-1)) + 1)
            sums, counts = (np.pad(x, (0, size - len(x))) for x in (sums, counts))
            np.add.at(sums, age, gates[..., column].mean(axis=2)[seen])
            np.add.at(counts, age, 1)
    return float(np.concatenate(online, axis=1).mean()), (sums / np.maximum(counts, 1)).tolist()
