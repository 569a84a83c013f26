"""Text as bytes: files the user names, or the Python library that is on every machine.

Training sees the training files as one long string, cut at random offsets, so that every byte
counts alike and no window is padded. Held-out files are scored one by one from their first byte
on, without what came before, which is also how the compressors of `compression_table` see them.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mcore.data.files import Piece, limited, named_files, split, standard_library
from mcore.data.mapped import Windows, mapped
from mcore.data.task import TRAIN, Batch, PackedBatch, group, random_stream
from mcore.errors import DataError


@dataclass(frozen=True)
class Text:
    """Next-byte prediction in windows of `length` tokens.

    The training files are read as one string, window by window. If `separate`, a file is a
    document: no byte sees another file's, and none is predicted from them.

    Raises: DataError when the training files are shorter than one window, or nothing is held out.
    """

    train: Sequence[Piece]
    held_out: Sequence[Piece]
    length: int
    batch: int
    seed: int
    separate: bool = False

    def __post_init__(self) -> None:
        if self._size <= self.length:
            message = f"the {len(self.train)} training files hold {self._size} bytes"
            raise DataError(f"{message}, fewer than one window of {self.length + 1} (data.length)")
        if not any(piece.size > 1 for piece in self.held_out):
            raise DataError("the held-out files hold nothing to predict; name more files")

    @property
    def vocab(self) -> int:
        """Bytes."""
        return 256

    @property
    def metric(self) -> str:
        """Cross-entropy in bits, a byte."""
        return "bits_per_byte"

    @cached_property
    def description(self) -> str:
        """Numbers of files and bytes, and a digest of their names and sizes."""
        sides = [[(p.name, p.start, p.stop) for p in side] for side in (self.train, self.held_out)]
        digest = hashlib.sha256(repr(sides).encode("utf-8", "backslashreplace")).hexdigest()[:12]
        held_out = sum(piece.size for piece in self.held_out)
        return (
            f"text: {self._size} bytes in {len(self.train)} files, "
            f"{held_out} held out in {len(self.held_out)} ({digest})"
        )

    def train_batch(self, step: int) -> Batch | PackedBatch:
        """`batch` windows of length + 1 bytes at random offsets: tokens, and each one's next."""
        rng = random_stream(self.seed, TRAIN, step)
        starts = rng.integers(0, self._size - self.length, self.batch)
        width = self.length + 1
        rows = np.stack([self._joined[start : start + width] for start in starts]).astype(np.int64)
        tokens, labels = rows[:, :-1], rows[:, 1:]
        if not self.separate:
            return Batch(tokens, labels)
        places = starts[:, None] + np.arange(width)
        files = np.searchsorted(self._ends, places, side="right")
        here, following = files[:, :-1], files[:, 1:]
        return PackedBatch(tokens, np.where(here == following, labels, -1), here.astype(np.int64))

    def eval_batches(self) -> Iterator[Batch]:
        """Every held-out byte scored exactly once, but for the first of each file.

        A window's last label is the next window's first token; the last window of a file is
        padded with token 0 and label -1.
        """
        return group((_windows(piece.read(), self.length) for piece in self.held_out), self.batch)

    def documents(self) -> Iterator[bytes]:
        """The held-out files' bytes, for other ways to compress them."""
        return (piece.read().tobytes() for piece in self.held_out)

    @cached_property
    def _size(self) -> int:
        return sum(piece.size for piece in self.train)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Where each file ends in the joined string."""
        return np.cumsum([piece.size for piece in self.train])

    @cached_property
    def _joined(self) -> Windows:
        return mapped(self.train)


def open_text(
    corpus: str | None, paths: Sequence[str], validation: float, eval_bytes: int
) -> tuple[list[Piece], list[Piece]]:
    """(training, held-out) pieces of a corpus and further paths; whole files up to `eval_bytes`.

    Raises: DataError when a path names nothing, or all of it is empty.
    """
    pieces = standard_library() if corpus == "python-stdlib" else []
    pieces = [piece for piece in pieces + named_files(paths) if piece.size > 0]
    if not pieces:
        raise DataError("data: every file is empty; name files that hold text")
    train, held_out = split(pieces, validation)
    return train, limited(held_out, eval_bytes)


def _windows(data: NDArray[np.uint8], length: int) -> Batch:
    """The windows of one file, (W, length)."""
    scored = data.size - 1
    count = -(-scored // length)
    tokens = np.zeros(count * length, np.int64)
    labels = np.full(count * length, -1, np.int64)
    tokens[:scored] = data[:-1]
    labels[:scored] = data[1:]
    return Batch(tokens.reshape(count, length), labels.reshape(count, length))
