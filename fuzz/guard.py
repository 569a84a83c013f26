"""What an input may make Python do: nothing is opened, made or run outside of one folder."""

import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FORBIDDEN = (
    "pickle.find_class",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.kill",
    "socket.connect",
    "socket.bind",
    "webbrowser.open",
)
_CHANGES = {
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.truncate": 1,
    "os.chmod": 1,
    "shutil.rmtree": 1,
}
"""Events that change the disk, and how many of their first arguments are paths."""

_KERNELS = ("numba", "llvmlite")
"""Whose pickles are read: kernels that this machine compiled before."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Escape(BaseException):
    """An input reached out of its folder. No `except Exception` catches it."""


class Guard:
    """Watches what Python opens while a `with watching()` block runs, by an audit hook.

    What libraries open in compiled code is not seen.
    """

    def __init__(self) -> None:
        self._folder: str | None = None
        self._readable = tuple(os.path.realpath(path) for path in _libraries())
        self._kernels = os.path.realpath(os.environ.get("MCORE_CACHE_DIR", os.devnull))
        self.escapes: list[str] = []
        sys.addaudithook(self._hear)

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Meanwhile nothing outside `folder` may be touched."""
        self.escapes.clear()
        self._folder = os.path.realpath(folder)
        try:
            yield
        finally:
            self._folder = None
        if self.escapes:
            raise Escape(self.escapes[0])

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        if event == "open":
            self._check_open(*arguments)
        elif event in _CHANGES:
            for path in arguments[: _CHANGES[event]]:
                self._check(path, f"{event} {path!r}")
        elif event == "pickle.find_class" and str(arguments[0]).partition(".")[0] in _KERNELS:
            return
        elif event in _FORBIDDEN:
            self._tell(f"{event} {arguments!r:.200}")

    def _check_open(self, path: object, mode: object, flags: int) -> None:
        writes = bool(flags & _WRITES)
        self._check(path, f"open {path!r} {mode}", () if writes else self._readable)

    def _check(self, path: object, what: str, also: tuple[str, ...] = ()) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        folder, self._folder = self._folder, None
        try:
            real = os.path.realpath(os.fsdecode(path))
        except ValueError:
            return
        finally:
            self._folder = folder
        allowed = (*also, folder or "", self._kernels)
        if not any(real == root or real.startswith(root + os.sep) for root in allowed):
            self._tell(what)

    def _tell(self, what: str) -> None:
        self.escapes.append(what)
        raise Escape(what)


def _libraries() -> list[str]:
    """What may be read: Python and its packages, this checkout, and what the machine is."""
    places = {sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")}
    checkout = str(Path(__file__).parents[1])
    machine = ["/proc", "/sys", "/dev/null", "/dev/urandom", "/etc/localtime"]
    return [*places, sys.prefix, sys.base_prefix, checkout, *machine]
