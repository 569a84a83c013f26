"""Which files a text corpus is made of, and which of them are held out."""

import glob
import hashlib
import os
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mcore.errors import DataError
from mcore.plain_file import open_plain, reason

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_TESTS = frozenset({"test", "tests", "idle_test"})
_LONGEST = 256
_GENERATED = frozenset({"encodings", "pydoc_data"})


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `stop` of a file; `name` is its path below what the user named."""

    path: Path
    name: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.stop - self.start

    def read(self, first: int = 0, count: int = -1) -> NDArray[np.uint8]:
        """`count` bytes from `first` on (all by default).

        Raises: DataError when the file is gone or shorter than it was.
        """
        count = self.size - first if count < 0 else count
        with open_plain(self.path, DataError) as file:
            try:
                data = np.fromfile(file, np.uint8, count, offset=self.start + first)
            except OSError as error:
                raise DataError(f"{self.path}: cannot be read: {reason(error)}") from None
        if data.size != count:
            raise DataError(f"{self.path}: is shorter than when the run began; put it back")
        return data


def standard_library() -> list[Piece]:
    """The running interpreter's own library, `.py` files sorted by path.

    Left out: installed packages; folders of tests (twice as much text as the library); generated
    files (`encodings`, tables; `pydoc_data`, one string of 750 kB that would be most of what is
    held out). What remains depends on the Python version and on how it was packaged.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = _INSTALLED | _TESTS | _GENERATED
    found = []
    for folder, below, files in os.walk(root):
        below[:] = set(below) - left_out
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return [_piece(path, path.relative_to(root)) for path in sorted(found)]


def named_files(paths: Sequence[str]) -> list[Piece]:
    """The files, patterns (`*`, `**`) and folders that a spec names, each file once.

    A folder stands for every file below it but the hidden ones.

    Raises: DataError when a path names nothing or cannot be read.
    """
    found: dict[Path, Piece] = {}
    for text in paths:
        try:
            for path, name in _expand(text):
                found.setdefault(path.resolve(), _piece(path, name))
        except (OSError, RuntimeError, ValueError) as error:
            why = _shown(_why(error))
            raise DataError(f"{_shown(text)}: cannot be read: {why} (data.paths)") from None
    return sorted(found.values(), key=lambda piece: (piece.name, str(piece.path)))


def split(pieces: Sequence[Piece], validation: float) -> tuple[list[Piece], list[Piece]]:
    """(training, held-out), by a hash of each file's name: no file is in both.

    A file stays on its side when others come or go, and the held-out files are in the order of
    the hash, so that the first of them are a fair sample. Both sides get at least one file; a
    lone file is cut instead, and its last part held out.
    """
    if len(pieces) == 1:
        cut = pieces[0].stop - max(1, round(validation * pieces[0].size))
        return [replace(pieces[0], stop=cut)], [replace(pieces[0], start=cut)]
    ranked = sorted(pieces, key=lambda piece: (_rank(piece.name), piece.name))
    held_out = sum(_rank(piece.name) < validation for piece in ranked)
    held_out = min(max(held_out, 1), len(ranked) - 1)
    train = sorted(ranked[held_out:], key=lambda piece: piece.name)
    return train, ranked[:held_out]


def limited(pieces: Sequence[Piece], limit: int) -> list[Piece]:
    """The first pieces that together have at most `limit` bytes; one longer than that is cut."""
    total = np.cumsum([piece.size for piece in pieces])
    whole = list(pieces[: int(np.searchsorted(total, limit, side="right"))])
    return whole or [replace(pieces[0], stop=pieces[0].start + limit)]


def _rank(name: str) -> float:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _expand(text: str) -> Iterator[tuple[Path, Path]]:
    """(file, name) for all that a path, pattern or folder stands for."""
    path = Path(text).expanduser()
    if path.is_file():
        yield path, Path(path.name)
    elif path.is_dir():
        yield from _below(path, path.rglob("*"), text)
    elif glob.has_magic(text):
        root = Path(*_plain_parts(path))
        pattern = str(path.relative_to(root))
        yield from _below(root, root.glob(pattern), text)
    else:
        raise DataError(f"{_shown(text)}: no such file or folder (data.paths)")


def _below(root: Path, paths: Iterable[Path], text: str) -> Iterator[tuple[Path, Path]]:
    names = sorted(path.relative_to(root) for path in paths if path.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    if not shown:
        raise DataError(f"{_shown(text)}: no files there (data.paths)")
    yield from ((root / name, name) for name in shown)


def _plain_parts(path: Path) -> Iterator[str]:
    for part in path.parts:
        if glob.has_magic(part):
            return
        yield part


def _piece(path: Path, name: Path) -> Piece:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}") from None
    return Piece(path, name.as_posix(), 0, size)


def _why(error: OSError | RuntimeError | ValueError) -> str:
    """The system's words, or those of Python about a home or a pattern that there is not."""
    return str(error).lower() if isinstance(error, RuntimeError) else reason(error)


def _shown(text: str) -> str:
    """What a message quotes of a path: all that a system would take, and no more."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
