"""One input, run and judged."""

import os
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from fuzz.guard import Escape, Guard
from fuzz.target import Target
from mcore.errors import McoreError

SECONDS = 10.0
"""Processor time after which an input counts as a hang."""

_LONGEST = 60_000


class Hang(BaseException):
    """An input took too long."""


@dataclass(frozen=True)
class Finding:
    """What was wrong, where in the sources, and what it said."""

    kind: str
    place: str
    message: str

    @property
    def key(self) -> tuple[str, str]:
        """Two findings with one key are the same bug, most likely."""
        return self.kind, self.place


class Judge:
    """Runs inputs of one target in a folder of their own."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.folder, self.guard = target, folder, Guard()
        self.refused = 0
        signal.signal(signal.SIGVTALRM, _hang)

    def judge(self, data: bytes) -> Finding | None:
        """None if the input was read or refused as it should be."""
        _empty(self.folder)
        os.chdir(self.folder)
        tempfile.tempdir = str(self.folder)
        try:
            with self.guard.watching(self.folder), _limited(SECONDS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.target.run(data, self.folder)
        except McoreError as error:
            self.refused += 1
            return _unclear(error)
        except (Exception, Escape, Hang, SystemExit) as error:
            return Finding(type(error).__name__, _place(error), str(error)[:300])
        finally:
            tempfile.tempdir = None
        return None


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang(f"took more than {SECONDS:.0f} s of the processor")


def _unclear(error: McoreError) -> Finding | None:
    """A message must say something, in a bounded number of printable characters."""
    text = str(error)
    if not text.strip():
        wrong = "an empty message"
    elif len(text) > _LONGEST:
        wrong = f"a message of {len(text)} characters"
    elif not all(line.isprintable() for line in text.split("\n")):
        wrong = f"control characters in {text!r:.200}"
    else:
        return None
    return Finding("Unclear", _place(error), wrong)


def _place(error: BaseException) -> str:
    """The innermost line of mcore, or of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/mcore/" in frame.filename] or list(frames)
    chosen = ours[-1]
    return f"{'/'.join(Path(chosen.filename).parts[-3:])}:{chosen.lineno}"


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
