"""The training text as one memory-mapped string, whatever its size."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mcore.data.files import Piece
from mcore.errors import DataError
from mcore.plain_file import reason

_COPY = 1 << 24


class Windows(Protocol):
    """A long string of bytes of which windows are read."""

    def __getitem__(self, window: slice, /) -> NDArray[np.uint8]:
        """The bytes from `window.start` to `window.stop`."""


@dataclass(frozen=True)
class Lone:
    """One piece, read where it lies: one that shrinks during the run is an error, no crash."""

    piece: Piece

    def __getitem__(self, window: slice) -> NDArray[np.uint8]:
        """Raises: DataError when the file is gone or shorter than it was."""
        return self.piece.read(window.start, window.stop - window.start)


def mapped(pieces: Sequence[Piece]) -> Windows:
    """All pieces one after the other, read-only; pages come from the disk as they are touched.

    One piece is read where it lies. Several are first copied into one temporary file without a
    name, which vanishes with the process, and mapped: thousands of files cost one open file, and
    one that shrinks during the run cannot crash it.

    Raises: DataError when a file is gone, shorter than it was, or the disk is full.
    """
    if len(pieces) == 1:
        pieces[0].read(pieces[0].size - 1, 1)
        return Lone(pieces[0])
    try:
        with tempfile.TemporaryFile(prefix="mcore-text-") as file:
            for piece in pieces:
                for first in range(0, piece.size, _COPY):
                    file.write(piece.read(first, min(_COPY, piece.size - first)).data)
            file.flush()
            return np.memmap(file, np.uint8, "r")
    except OSError as error:
        folder = tempfile.gettempdir()
        raise DataError(f"{folder}: cannot hold the training text: {reason(error)}") from None
