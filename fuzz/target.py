"""What a target is: one kind of file, how to make it hostile, and what reads it."""

import random
from pathlib import Path
from typing import Protocol


class Target(Protocol):
    """A kind of input."""

    @property
    def name(self) -> str:
        """A word for the command line."""

    def seeds(self) -> list[bytes]:
        """Good inputs to begin with, made by mcore itself."""

    def mutate(self, data: bytes, rng: random.Random) -> bytes:
        """A hostile neighbour of `data` that keeps its structure."""

    def run(self, data: bytes, folder: Path) -> None:
        """Read `data`, in an empty folder that is the working directory too.

        Raises: McoreError when the input is refused, as it should be; anything else is a finding.
        """
