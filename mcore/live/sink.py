"""Where lines go: to standard output, or to a file that holds each exactly once."""

import os
import sys
from pathlib import Path
from typing import BinaryIO

from mcore.errors import DataError


class Sink:
    """Lines to standard output."""

    def write(self, line: str) -> None:
        """Add a line; it is seen after `flush`."""
        sys.stdout.write(line)

    def flush(self) -> None:
        """Let readers see what was written."""
        sys.stdout.flush()

    def settle(self) -> int | None:
        """Have all of it on the disk; returns the bytes there, None if there is no file."""
        self.flush()
        return None

    def close(self) -> None:
        """Close what was opened."""


class FileSink(Sink):
    """Lines at the end of a file; what lies beyond `written` was never saved, and is written again.

    Raises:
        DataError: the file cannot be written, or is shorter than it was.
    """

    def __init__(self, path: Path, written: int | None) -> None:
        try:
            self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise DataError(f"{path}: cannot be written: {reason}") from None
        size = self._file.seek(0, os.SEEK_END)
        if written is not None and size < written:
            self._file.close()
            raise DataError(
                f"{path}: holds {size} bytes, and {written} were written when the state was saved; "
                "another --out would do"
            )
        self._file.truncate(size if written is None else written)
        self._file.seek(0, os.SEEK_END)

    def write(self, line: str) -> None:
        """See `Sink`."""
        self._file.write(line.encode())

    def flush(self) -> None:
        """See `Sink`."""
        self._file.flush()

    def settle(self) -> int:
        """See `Sink`."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """See `Sink`."""
        self._file.close()


def sink_of(path: Path | None, written: int | None) -> Sink:
    """A file from `written` bytes on (None: its end), or standard output."""
    return Sink() if path is None else FileSink(path, written)
