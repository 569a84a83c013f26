"""Files that people name, opened with care: plain files only, and no more of them than fits."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from mcore.errors import McoreError, SnapshotError
from mcore.machine import amount


def open_plain(path: Path, wrong: type[McoreError]) -> BufferedReader:
    """Open a file to read it. A pipe or a device, which may never answer or never end, is refused.

    Raises: `wrong`, with the path and the reason.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _PATIENT)
    except (OSError, ValueError) as error:
        raise wrong(f"{path}: cannot be read: {reason(error)}") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise wrong(f"{path}: cannot be read: it is {what}, not a file")


def read_plain(path: Path, most: int, wrong: type[McoreError]) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises: `wrong`, with the path and the reason.
    """
    with open_plain(path, wrong) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            content = file.read(min(size, most) + 1)
        except OSError as error:
            raise wrong(f"{path}: cannot be read: {reason(error)}") from None
    if len(content) > most:
        raise wrong(f"{path}: is larger than {amount(most)}, which is more than it may be")
    return content


def there(path: Path) -> bool:
    """Whether something has this name, if only a link; no error where that may not be asked."""
    return os.path.lexists(path)


def is_folder(path: Path) -> bool:
    """Whether it is a folder, as far as that may be asked."""
    return os.path.isdir(path)  # noqa: PTH112  (Path.is_dir raises where it may not)


def inside(folder: Path, path: Path) -> Path:
    """`path`, which lies below `folder`, unless a link there leads out of the folder.

    A run's folder may have come from anywhere; nothing is read or written beside it in its name.

    Raises: SnapshotError when it leads out.
    """
    try:
        real, root = path.resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError):
        raise SnapshotError(f"{path}: is a link that leads nowhere") from None
    if not real.is_relative_to(root):
        raise SnapshotError(
            f"{path}: is a link that leads out of the run's folder; put the file itself there"
        )
    return path


def reason(error: OSError | ValueError) -> str:
    """Why the system refused, in its words."""
    return (getattr(error, "strerror", None) or str(error)).lower()


_PATIENT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Opening a pipe does not wait for somebody to write into it."""
