"""What a form of the readout works on, and what it gives back."""

from dataclasses import dataclass
from typing import NamedTuple

from mcore.arrays import Array
from mcore.backend import Backend, Routes
from mcore.readout import Readout
from mcore.recurrence import Inputs, Recurrence
from mcore.router import Pool
from mcore.segments import Segments


@dataclass(frozen=True)
class Setting:
    """What a pass works on: prepared inputs, and what the memories of earlier calls left."""

    backend: Backend
    rule: Recurrence
    readout: Readout
    inputs: Inputs
    carry: Array | None
    segments: Segments
    pool: Pool


@dataclass(frozen=True)
class Scene(Setting):
    """What a readout works on: a setting, online answers and all visible checkpoints."""

    reads: Array
    checkpoints: Array


class SceneGradient(NamedTuple):
    """Gradients with respect to a scene's inputs, carry, reads, checkpoints and pool."""

    inputs: dict[str, Array]
    carry: Array | None
    reads: Array
    checkpoints: Array
    pool: Pool | None


Output = tuple[Array, Routes | None]
"""y (B, T, H, V), and what routing found."""


def add_gradients(first: dict[str, Array], second: dict[str, Array]) -> dict[str, Array]:
    """Entry-wise sum of two gradient dicts; an entry may be missing in either."""
    total = dict(first)
    for name, gradient in second.items():
        total[name] = total[name] + gradient if name in total else gradient
    return total


def add_optional(first: Array | None, second: Array | None) -> Array | None:
    """Sum of two gradients, either of which may be missing."""
    if first is None or second is None:
        return second if first is None else first
    return first + second
