"""Bytes as they come: of standard input, or of a file that is followed as it grows."""

import os
import select
import stat
import sys
import time
from pathlib import Path

from mcore.errors import DataError

SIZE = 4096
"""Bytes that are read at once, at most."""

WAIT = 0.05
"""Seconds after which a source that has nothing says so."""


class Source:
    """Where bytes come from.

    Attributes:
        name: in words.
        offset: bytes before the next one.
    """

    name: str
    offset: int = 0

    def read(self) -> bytes | None:
        """What is there, after at most a moment; None at the end, empty if there is nothing yet."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what was opened."""


class Pipe(Source):
    """Standard input. A file that was redirected to it is read from the offset on."""

    def __init__(self, offset: int) -> None:
        self.name, self.offset = "standard input", offset
        self._file = sys.stdin.fileno()
        regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        self._waits = not regular and os.name != "nt"
        if regular:
            _check_size(os.fstat(self._file).st_size, offset, self.name)
            os.lseek(self._file, offset, os.SEEK_SET)

    def read(self) -> bytes | None:
        """See `Source`."""
        if self._waits and not select.select([self._file], [], [], WAIT)[0]:
            return b""
        data = os.read(self._file, SIZE)
        self.offset += len(data)
        return data or None


class Followed(Source):
    """A file that is waited for when it ends.

    Raises:
        DataError: it is not there, cannot be read, or is shorter than what was read of it.
    """

    def __init__(self, path: Path, offset: int) -> None:
        self.name, self.offset = str(path), offset
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise DataError(f"{path}: cannot be read: {reason}") from None
        self._file.seek(offset)

    def read(self) -> bytes | None:
        """See `Source`."""
        data = self._file.read(SIZE)
        if not data:
            _check_size(os.fstat(self._file.fileno()).st_size, self.offset, self.name)
            time.sleep(WAIT)
            return b""
        self.offset += len(data)
        return data

    def close(self) -> None:
        """See `Source`."""
        self._file.close()


def _check_size(size: int, offset: int, name: str) -> None:
    if size < offset:
        raise DataError(
            f"{name}: holds {size} bytes, and {offset} were read of it before: it is another file, "
            "or was cut; a new --state begins anew"
        )
