"""The training text as one memory-mapped string, whatever its size."""

import tempfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mcore.data.files import Piece
from mcore.errors import DataError

_COPY = 1 << 24


def mapped(pieces: Sequence[Piece]) -> NDArray[np.uint8]:
    """All pieces one after the other, read-only; pages come from the disk as they are touched.

    One piece is mapped where it lies. Several are first copied into one temporary file without a
    name, which vanishes with the process: thousands of files cost one open file, and one that
    shrinks during the run cannot crash it.

    Raises: DataError when a file is gone, shorter than it was, or the disk is full.
    """
    if len(pieces) == 1:
        pieces[0].read(pieces[0].size - 1, 1)
        only = pieces[0]
        return np.memmap(only.path, np.uint8, "r", offset=only.start, shape=(only.size,))
    try:
        with tempfile.TemporaryFile(prefix="mcore-text-") as file:
            for piece in pieces:
                for first in range(0, piece.size, _COPY):
                    file.write(piece.read(first, min(_COPY, piece.size - first)).data)
            file.flush()
            return np.memmap(file, np.uint8, "r")
    except OSError as error:
        folder = tempfile.gettempdir()
        raise DataError(f"{folder}: cannot hold the training text: {error.strerror}") from None
